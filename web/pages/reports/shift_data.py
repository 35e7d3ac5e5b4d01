"""Everything that a shift report reports: the period's runs, problems, mutes, machines and commands."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import current_app

from dqmsquare_cfg import Cluster
from storage.audit_log import AuditEntry
from storage.client_names import client_name
from storage.client_rows import is_starting
from storage.crash_reader import CrashOccurrences
from storage.job_state import JobState
from storage.mutes import Mute
from storage.outages import Outage
from storage.read_models import Job, Run, StateChange
from storage.reader import MirrorReader
from storage.shift_reader import ProblemInterval
from web import databases
from web.action_text import MUTE, UNMUTE
from web.cache import dependencies
from web.errors import DatabaseUnavailable
from web.pages import freshness
from web.pages.reports.shift_period import ShiftPeriod

# More than in a week of many short runs.
MAX_RUNS = 150
_MAX_MUTES = 200


@dataclass(frozen=True, slots=True)
class ShiftData:
    """Everything that is reported of a period; runs are in ascending order.

    `missing`: the names of the clients that a run lacks, without runs of which that is not known.
    `until`: the end of what is reported, which is the present time unless the period `is_over`.
    `has_transitions`: transitions were recorded in all of it. `outages` are those of the present. `commands`
    is `None` if they can't be read.
    """

    until: datetime
    is_over: bool
    has_transitions: bool
    runs: Sequence[Run]
    has_older_runs: bool
    missing: Mapping[int, Sequence[str]]
    crash_groups: Mapping[str, CrashOccurrences]
    stuck: Sequence[ProblemInterval]
    mutes: Sequence[Mute]
    state_changes: Sequence[StateChange]
    stale: Sequence[ProblemInterval]
    outages: Sequence[Outage]
    commands: Sequence[AuditEntry] | None


def read(cluster: Cluster, period: ShiftPeriod, now: datetime) -> ShiftData:
    """Read a period of a cluster. Raises DatabaseUnavailable."""
    reader = databases.stale_ok_reader(cluster)
    since, until = period.since, min(period.until, now)
    found = reader.shifts.runs(since, until, MAX_RUNS + 1)
    runs = found[:MAX_RUNS][::-1]
    signatures = {job.crash_group for job in crashed_jobs(runs, period) if job.crash_group is not None}
    last = runs[-1].run if runs else 0
    known_since = reader.shifts.transitions_known_since()
    mutes = reader.mutes.between(since, period.until, _MAX_MUTES)
    for mute in mutes:
        if mute.ends_at > now:
            dependencies.expire_at(mute.ends_at)
    return ShiftData(
        until=until,
        is_over=period.until <= now,
        has_transitions=known_since is not None and known_since <= since,
        runs=runs,
        has_older_runs=len(found) > MAX_RUNS,
        missing=_missing_clients(reader, runs),
        crash_groups=reader.crashes.occurrences(tuple(sorted(signatures)), last) if signatures else {},
        stuck=reader.shifts.stuck_clients(since, period.until),
        mutes=mutes,
        state_changes=reader.cluster.state_changes_between(since, period.until),
        stale=reader.shifts.data_path_problems(since, period.until),
        outages=freshness.read_outages(cluster),
        commands=_read_commands(cluster, period),
    )


def _missing_clients(reader: MirrorReader, runs: Sequence[Run]) -> Mapping[int, Sequence[str]]:
    """The names of the clients that each run lacks, sorted; without runs whose clients may be starting."""
    expected = reader.runs.expected_clients_of(runs)
    missing_after = timedelta(seconds=current_app.config["MISSING_AFTER_S"])
    return {
        run.run: sorted(map(client_name, expected[run.run].clients - {job.client for job in run.jobs}))
        for run in runs
        if run.run in expected and not is_starting(run, expected[run.run].startup, missing_after)
    }


def _read_commands(cluster: Cluster, period: ShiftPeriod) -> Sequence[AuditEntry] | None:
    """The commands but for mutes, which are reported apart; `None` while their database is unavailable."""
    try:
        # Those of both clusters are there.
        reader = databases.stale_ok_reader(Cluster.PLAYBACK)
        found = reader.shifts.control_changes(cluster, period.since, period.until)
    except DatabaseUnavailable:
        dependencies.expire_soon()
        return None
    return [entry for entry in found if entry.action.command not in (MUTE, UNMUTE)]


def crashed_jobs(runs: Iterable[Run], period: ShiftPeriod) -> Iterator[Job]:
    """The jobs that crashed in the period, not before or after it."""
    for run in runs:
        for job in run.jobs:
            if job.state is JobState.CRASHED and period.since <= job.updated_at < period.until:
                yield job
