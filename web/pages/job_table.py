"""The job table: a row per client with its newest job, its earlier jobs, and the clients that have no job."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any

from storage.job_state import JobState
from storage.read_models import Job, Run, client_name

# A job reports every 30 s, which is more than one lumisection, so that a healthy job is up to 4 behind.
MAX_NORMAL_LAG = 4


class ClientState(StrEnum):
    """The state of a client in a run: that of its newest job, else `starting` or `missing`. Worst first."""

    CRASHED = "crashed"
    STUCK = "stuck"
    LOST = "lost"
    MISSING = "missing"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"

    @property
    def is_problem(self) -> bool:
        """Whether somebody should look at the client."""
        return self not in (ClientState.STARTING, ClientState.RUNNING, ClientState.FINISHED)


class Column(StrEnum):
    """The columns by which the table can be sorted, as the URL names them."""

    STATE = "state"
    CLIENT = "client"
    MACHINE = "machine"
    LUMISECTION = "ls"
    EVENTS = "events"
    RATE = "rate"
    MEMORY = "memory"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class SortOrder:
    """The order of the table; in a URL `ls` or, descending, `-ls`."""

    column: Column
    is_descending: bool = False

    def __str__(self) -> str:
        return f"{'-' if self.is_descending else ''}{self.column}"


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A client of a run: its newest job, `None` if it has none, and its earlier jobs, newest first.

    `is_starting`: it has no job yet, but the run has just started. `lumisections_skipped`: how many of them
    no job of it saw.
    """

    client: str
    newest: Job | None
    earlier: tuple[Job, ...] = ()
    is_starting: bool = False
    lumisections_skipped: int = 0

    @property
    def name(self) -> str:
        """The client's name as users know it."""
        return client_name(self.client)

    @property
    def state(self) -> ClientState:
        """The state of the newest job, else `starting` or `missing`."""
        if self.newest is not None:
            return ClientState(self.newest.state)
        return ClientState.STARTING if self.is_starting else ClientState.MISSING

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs of the client, newest first."""
        return () if self.newest is None else (self.newest, *self.earlier)

    @property
    def crashes(self) -> tuple[Job, ...]:
        """The jobs of the client that crashed, newest first."""
        return tuple(job for job in self.jobs if job.state is JobState.CRASHED)

    @property
    def earlier_crashes(self) -> tuple[Job, ...]:
        """The jobs of the client that crashed before its last restart, newest first."""
        return tuple(job for job in self.crashes if job is not self.newest)

    @property
    def has_recovered(self) -> bool:
        """Whether the client crashed, but was restarted and has no problem now."""
        return bool(self.crashes) and not self.state.is_problem

    @property
    def is_idle(self) -> bool:
        """Whether the newest job is well but has seen no lumisection: its stream is not in the run."""
        if self.newest is None or self.state.is_problem:
            return False
        return not self.newest.lumisection and self.newest.lag > MAX_NORMAL_LAG

    @property
    def is_behind(self) -> bool:
        """Whether the newest job is running, but further behind than its reporting interval explains."""
        return self.newest is not None and is_behind(self.newest)


def is_behind(job: Job) -> bool:
    """Whether a job is running, but further behind the run's newest lumisection than its reports explain."""
    return job.exit_code is None and bool(job.lumisection) and job.lag > MAX_NORMAL_LAG


def client_rows(run: Run, expected: Iterable[str], *, is_starting: bool = False) -> list[ClientRow]:
    """A row per client of a run, and per `expected` client that the run lacks."""
    by_client = groupby(
        sorted(run.jobs, key=attrgetter("client", "first_seen_at", "id")), attrgetter("client")
    )
    rows = [_row(client, list(jobs)) for client, jobs in by_client]
    present = {row.client for row in rows}
    absent = sorted(set(expected) - present)
    return rows + [ClientRow(client, None, is_starting=is_starting) for client in absent]


def sort_rows(rows: Iterable[ClientRow], order: SortOrder) -> list[ClientRow]:
    """The rows in an order; rows without a value are last in both directions, equal values by name."""
    by_name = sorted(rows, key=attrgetter("name", "client"))
    value = _SORT_VALUES[order.column]
    with_value = [row for row in by_name if value(row) is not None]
    without_value = [row for row in by_name if value(row) is None]
    return sorted(with_value, key=value, reverse=order.is_descending) + without_value


def count_by_state(rows: Iterable[ClientRow]) -> dict[ClientState, int]:
    """The number of clients in each state, including states with none."""
    counts = dict.fromkeys(ClientState, 0)
    for row in rows:
        counts[row.state] += 1
    return counts


def matches_filter(row: ClientRow, states: Sequence[ClientState], text: str) -> bool:
    """Whether a row is in one of the states (none given: any) and contains every word of `text`."""
    if states and row.state not in states:
        return False
    machine = "" if row.newest is None else row.newest.machine
    searched = f"{row.client} {row.state} {machine}".lower()
    return all(word in searched for word in text.lower().split())


def _row(client: str, jobs: list[Job]) -> ClientRow:
    *earlier, newest = jobs
    skipped = newest.lumisections_skipped
    return ClientRow(client, newest, tuple(reversed(earlier)), lumisections_skipped=skipped)


def _severity(row: ClientRow) -> int:
    """Problems by state, then clients that crashed and were restarted, then all others.

    A row must not move because its client has started or finished, or because of a number in it.
    """
    if row.state.is_problem:
        return list(ClientState).index(row.state)
    return len(ClientState) + (not row.has_recovered)


def _job_value(field: str) -> Callable[[ClientRow], Any]:
    return lambda row: None if row.newest is None else getattr(row.newest, field)


_SORT_VALUES: dict[Column, Callable[[ClientRow], Any]] = {
    Column.STATE: _severity,
    Column.CLIENT: attrgetter("name"),
    Column.MACHINE: _job_value("machine"),
    Column.LUMISECTION: _job_value("lumisection"),
    Column.EVENTS: _job_value("events_total"),
    Column.RATE: _job_value("events_rate"),
    Column.MEMORY: _job_value("rss_kb"),
    Column.REPORT: _job_value("updated_at"),
}
