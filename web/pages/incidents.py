"""Incidents of a cluster: the events and states that raise an alert, on every page.

`static/js/alerts.js` compares each list with the one before. It raises an alert for an incident that is new,
and ends it when the incident is over or no longer listed.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from storage.client_rows import ClientRow, ClientState, client_rows
from storage.mutes import Mute
from storage.outages import Outage
from storage.read_models import Job, MachineStatus, Run
from storage.reader import MirrorReader
from web.pages import active_mutes

# A client that is restarted over and over; its oldest crashes are left out.
_MAX_CRASHES_PER_CLIENT = 5


class IncidentKind(StrEnum):
    """The kind of an incident, which decides on its icon and on how long it must last."""

    CRASHED = "crashed"
    STUCK = "stuck"
    DOWN = "down"
    OUTAGE = "outage"


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident. `key` is the same in all lists that have it.

    `is_over`: it has happened but needs nobody any more, since the client was restarted or the run has ended.
    `is_muted`: it raises no alert, not even when the mute has ended.
    """

    key: str
    kind: IncidentKind
    text: str
    began_at: datetime | None
    job: UUID | None = None
    is_over: bool = False
    is_muted: bool = False


def find_incidents(
    reader: MirrorReader, outages: Collection[Outage], down: Iterable[MachineStatus]
) -> list[Incident]:
    """The incidents in the newest run, in its machines, and in the data path to this server."""
    newest = reader.runs.span().highest
    run = None if newest is None else reader.runs.get(newest)
    in_run = [] if run is None else _incidents_of_run(run, active_mutes.read(reader))
    return [*in_run, *incidents_of_data_path(outages, {status.machine: status for status in down})]


def _incidents_of_run(run: Run, mutes: Iterable[Mute]) -> list[Incident]:
    rows = client_rows(run, (), mutes)
    return [incident for row in rows for incident in _incidents_of_client(run, row)]


def _incidents_of_client(run: Run, row: ClientRow) -> Iterator[Incident]:
    for job in row.crashes[:_MAX_CRASHES_PER_CLIENT]:
        is_restarted = job is not row.newest
        text = f"{row.name} crashed in run {run.run}{' and was restarted' if is_restarted else ''}"
        yield _incident_of_job(
            IncidentKind.CRASHED,
            text,
            job,
            is_over=is_restarted or not run.is_ongoing,
            is_muted=job not in row.unmuted_crashes,
        )
    if row.newest is not None and row.state is ClientState.STUCK:
        text = f"{row.name} is stuck in run {run.run}"
        yield _incident_of_job(
            IncidentKind.STUCK, text, row.newest, is_over=not run.is_ongoing, is_muted=row.is_muted
        )


def _incident_of_job(kind: IncidentKind, text: str, job: Job, *, is_over: bool, is_muted: bool) -> Incident:
    return Incident(f"{kind} {job.id}", kind, text, job.updated_at, job.id, is_over, is_muted)


def incidents_of_data_path(outages: Collection[Outage], down: dict[str, MachineStatus]) -> Iterator[Incident]:
    """At most one incident per machine, be it down or not mirrored, and one for the rest of the path."""
    of_machines = {outage.machine: outage for outage in outages if outage.machine is not None}
    for machine in sorted({*of_machines, *down}):
        if machine in down:
            yield Incident(f"machine {machine}", IncidentKind.DOWN, f"{machine} is down", down[machine].since)
        else:
            outage = of_machines[machine]
            yield Incident(f"machine {machine}", IncidentKind.OUTAGE, outage.message, outage.since)
    for outage in outages:
        if outage.machine is None:
            key = "data path" if outage.makes_jobs_stale else "machine status"
            yield Incident(key, IncidentKind.OUTAGE, outage.message, outage.since)
