"""The job table: the order of its rows, one per client of a run, and their filter."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any

from storage.client_names import client_name
from storage.client_rows import ClientRow, ClientState


class SortColumn(StrEnum):
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

    column: SortColumn
    is_descending: bool = False

    def __str__(self) -> str:
        return f"{'-' if self.is_descending else ''}{self.column}"


def sort_rows(rows: Iterable[ClientRow], order: SortOrder) -> list[ClientRow]:
    """The rows in an order; rows without a value are last in both directions, equal values by name."""
    by_name = sorted(rows, key=attrgetter("name", "client"))
    value = _SORT_VALUES[order.column]
    with_value = [row for row in by_name if value(row) is not None]
    without_value = [row for row in by_name if value(row) is None]
    return sorted(with_value, key=value, reverse=order.is_descending) + without_value


def matches_filter(row: ClientRow, states: Sequence[ClientState], text: str) -> bool:
    """Whether a row is in one of the states (none given: any) and contains every word of `text`.

    Client tags are searched by what differs between them.
    """
    if states and row.state not in states:
        return False
    machine = "" if row.newest is None else row.newest.machine
    searched = f"{row.name} {row.state} {machine}".lower()
    return all(client_name(word) in searched for word in text.lower().split())


def _severity(row: ClientRow) -> int:
    """Problems by state, then clients that crashed and were restarted, then all others.

    A row must not move because its client has started or finished, or because of a number in it.
    """
    if row.state.is_problem:
        return list(ClientState).index(row.state)
    return len(ClientState) + (not row.has_recovered)


def _job_value(field: str) -> Callable[[ClientRow], Any]:
    return lambda row: None if row.newest is None else getattr(row.newest, field)


_SORT_VALUES: dict[SortColumn, Callable[[ClientRow], Any]] = {
    SortColumn.STATE: _severity,
    SortColumn.CLIENT: attrgetter("name"),
    SortColumn.MACHINE: _job_value("machine"),
    SortColumn.LUMISECTION: _job_value("lumisection"),
    SortColumn.EVENTS: _job_value("events_total"),
    SortColumn.RATE: _job_value("events_rate"),
    SortColumn.MEMORY: _job_value("rss_kb"),
    SortColumn.REPORT: _job_value("updated_at"),
}
