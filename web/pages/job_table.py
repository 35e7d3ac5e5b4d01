"""The job table: one row a client by its newest job, earlier ones behind it, those that never started too."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any

from storage.read_models import Job, Run, client_name

# A job reports every 30 s, more than one lumisection: so many behind is within what reporting explains.
LAG_OF_REPORTING = 4


class ClientState(StrEnum):
    """The state of a client in a run: that of its newest job, or that it has none. Worst first."""

    CRASHED = "crashed"
    STUCK = "stuck"
    LOST = "lost"
    MISSING = "missing"
    RUNNING = "running"
    FINISHED = "finished"

    @property
    def is_problem(self) -> bool:
        """Whether somebody should look at it."""
        return self not in (ClientState.RUNNING, ClientState.FINISHED)


class Column(StrEnum):
    """The columns that the table can be ordered by, in the words of the address."""

    STATE = "state"
    CLIENT = "client"
    MACHINE = "machine"
    LUMISECTION = "ls"
    EVENTS = "events"
    RATE = "rate"
    MEMORY = "memory"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Order:
    """What the table is ordered by; in an address `ls` or, descending, `-ls`."""

    column: Column
    is_descending: bool = False

    def __str__(self) -> str:
        return f"{'-' if self.is_descending else ''}{self.column}"


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A client of a run: its newest job, if it ever had one, and those before it, newest first."""

    client: str
    newest: Job | None
    earlier: tuple[Job, ...] = ()

    @property
    def name(self) -> str:
        """The client's name as users know it."""
        return client_name(self.client)

    @property
    def state(self) -> ClientState:
        """The state of the newest job; missing without one."""
        return ClientState.MISSING if self.newest is None else ClientState(self.newest.state)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs of the client, newest first."""
        return () if self.newest is None else (self.newest, *self.earlier)

    @property
    def is_behind(self) -> bool:
        """Whether it runs, but further behind the run's newest lumisection than reporting explains."""
        return self.newest is not None and is_behind(self.newest)


def is_behind(job: Job) -> bool:
    """Whether a job runs, but further behind the run's newest lumisection than reporting explains."""
    return job.exit_code is None and bool(job.lumisection) and job.lag > LAG_OF_REPORTING


def client_rows(run: Run, expected: Iterable[str]) -> list[ClientRow]:
    """A row for each client of a run, and for each of the `expected` that it does not have."""
    by_client = groupby(sorted(run.jobs, key=attrgetter("client", "started_at", "id")), attrgetter("client"))
    rows = [_row(client, list(jobs)) for client, jobs in by_client]
    there = {row.client for row in rows}
    return rows + [ClientRow(client, None) for client in sorted(set(expected) - there)]


def ordered(rows: Iterable[ClientRow], order: Order) -> list[ClientRow]:
    """The rows in an order; those without a value come last in either direction, equal ones by name."""
    by_name = sorted(rows, key=attrgetter("name", "client"))
    value = _VALUES[order.column]
    valued = [row for row in by_name if value(row) is not None]
    without = [row for row in by_name if value(row) is None]
    return sorted(valued, key=value, reverse=order.is_descending) + without


def count(rows: Iterable[ClientRow]) -> dict[ClientState, int]:
    """How many clients are in each state, those of which there is none included."""
    counts = dict.fromkeys(ClientState, 0)
    for row in rows:
        counts[row.state] += 1
    return counts


def matches(row: ClientRow, states: Sequence[ClientState], words: str) -> bool:
    """Whether a row passes a filter: one of the states (none given: any), and every word somewhere in it."""
    if states and row.state not in states:
        return False
    machine = "" if row.newest is None else row.newest.machine
    text = f"{row.client} {row.state} {machine}".lower()
    return all(word in text for word in words.lower().split())


def _row(client: str, jobs: list[Job]) -> ClientRow:
    *earlier, newest = jobs
    return ClientRow(client, newest, tuple(reversed(earlier)))


def _severity(row: ClientRow) -> tuple[int, int, int]:
    """Problems first, then who is behind, then who missed lumisections."""
    lag = row.newest.lag if row.newest is not None and row.is_behind else 0
    skipped = 0 if row.newest is None else row.newest.lumisections_skipped
    return list(ClientState).index(row.state), -lag, -skipped


def _of_job(name: str) -> Callable[[ClientRow], Any]:
    return lambda row: None if row.newest is None else getattr(row.newest, name)


_VALUES: dict[Column, Callable[[ClientRow], Any]] = {
    Column.STATE: _severity,
    Column.CLIENT: attrgetter("name"),
    Column.MACHINE: _of_job("machine"),
    Column.LUMISECTION: _of_job("lumisection"),
    Column.EVENTS: _of_job("events_total"),
    Column.RATE: _of_job("events_rate"),
    Column.MEMORY: _of_job("rss_kb"),
    Column.REPORT: _of_job("updated_at"),
}
