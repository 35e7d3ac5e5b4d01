"""Machines of a cluster: a row each, with its state, its data and its uptime."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from storage.cluster_reader import ClusterReader
from storage.read_models import Machine, MachineStatus, StateChange


@dataclass(frozen=True, slots=True)
class UptimeInterval:
    """An interval in which a machine was up, down or in an unknown state (`None`).

    The first of a span may have begun before it.
    """

    is_up: bool | None
    since: datetime
    until: datetime
    reason: str | None


@dataclass(frozen=True, slots=True)
class MachineRow:
    """A machine; `mirrored` is `None` if it is not mirrored, `status` if its state is unknown."""

    label: str
    mirrored: Machine | None
    status: MachineStatus | None
    uptime: tuple[UptimeInterval, ...]


def machine_rows(
    reader: ClusterReader, changes: Sequence[StateChange], start: datetime, end: datetime
) -> list[MachineRow]:
    """The machines by label; their uptime between two times follows from `changes` of their states."""
    mirrored = {machine.label: machine for machine in reader.machines()}
    statuses = {status.machine: status for status in reader.machine_statuses()}
    rows = []
    for label in sorted({*mirrored, *statuses}):
        status = statuses.get(label)
        known_until = status.checked_at if status is not None and not status.is_current else None
        of_machine = [change for change in changes if change.machine == label]
        uptime = uptime_intervals(of_machine, start, end, known_until)
        rows.append(MachineRow(label, mirrored.get(label), status, uptime))
    return rows


def uptime_intervals(
    changes: Sequence[StateChange], start: datetime, end: datetime, known_until: datetime | None = None
) -> tuple[UptimeInterval, ...]:
    """The intervals between `start` and `end` that follow from a machine's state changes, oldest first.

    The state is unknown after `known_until`, if that is given.
    """
    known_end = end if known_until is None else min(max(known_until, start), end)
    seen = [change for change in changes if change.at < known_end]
    times = [*(change.at for change in seen), known_end]
    intervals = [
        UptimeInterval(change.is_up, change.at, until, change.reason)
        for change, until in zip(seen, times[1:], strict=True)
        if until > start
    ]
    if times[0] > start:
        intervals.insert(0, UptimeInterval(None, start, times[0], None))
    if known_end < end:
        intervals.append(UptimeInterval(None, known_end, end, None))
    return tuple(intervals)
