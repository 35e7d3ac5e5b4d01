"""The states of machines, of which the earlier mirror kept one a poll: taken over are those that changed."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db
from grabbing.scheduler import LONGEST_REASON
from legacy_import import legacy_tables
from legacy_import.legacy_tables import SET_APART, EarlierTables

_ROWS_AT_ONCE = 1000
_REASONS_REMEMBERED = 10_000


def take_over(connection: sa.Connection, machine: Callable[[str], int], redact: Callable[[str], str]) -> None:
    """Takes the changes over; `machine` tells the number of a host."""
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))

    @lru_cache(_REASONS_REMEMBERED)
    def reason(message: str | None) -> str | None:
        return redact(message)[:LONGEST_REASON] if message else None

    found = connection.execute(
        changes(SET_APART), execution_options={"stream_results": True, "yield_per": _ROWS_AT_ONCE}
    )
    rows = (
        {
            "machine_id": machine(row.host),
            "since": row.since,
            "is_up": row.is_up,
            "reason": reason(row.message),
        }
        for row in found
    )
    # What returns something goes many rows a statement.
    statement = insert(db.machine_states).on_conflict_do_nothing().returning(db.machine_states.c.since)
    for some in _in_parts(rows):
        connection.execute(statement, some)
    connection.execute(_forget_what_did_not_change())


def changes(tables: EarlierTables) -> sa.Select[Any]:
    """Each machine's changes in their order; two names of a machine, with its domain and without, are one."""
    names, states = tables.hostnames, tables.hoststatuses
    host = legacy_tables.short_host(names.c.name)

    def before(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.lag(column).over(partition_by=host, order_by=(states.c.created_at, states.c.id))

    seen = (
        sa.select(
            *(host.label("host"), states.c.created_at.label("since"), states.c.is_up, states.c.message),
            before(states.c.is_up).label("was_up"),
            before(states.c.message).label("was_said"),
        )
        .join_from(states, names, names.c.id == states.c.host_id)
        .where(states.c.is_up.is_not(None), legacy_tables.is_known(states.c.created_at), host.is_not(None))
        .subquery()
    )
    # The first has no state before it, which differs from any.
    is_change = sa.or_(
        seen.c.was_up.is_distinct_from(seen.c.is_up), seen.c.was_said.is_distinct_from(seen.c.message)
    )
    return sa.select(seen).where(is_change).order_by(seen.c.host, seen.c.since)


def _forget_what_did_not_change() -> sa.Delete:
    """States that say what the one before says: their reasons were told apart by what redaction took away.

    So does what a grabber saw first, should it be what the earlier mirror saw last.
    """
    states = db.machine_states.c

    def before(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.lag(column).over(partition_by=states.machine_id, order_by=states.since)

    seen = sa.select(
        *(states.machine_id, states.since, states.is_up, states.reason),
        before(states.is_up).label("was_up"),
        before(states.reason).label("was_said"),
    ).subquery()
    return sa.delete(db.machine_states).where(
        states.machine_id == seen.c.machine_id,
        states.since == seen.c.since,
        seen.c.was_up == seen.c.is_up,
        seen.c.was_said.is_not_distinct_from(seen.c.reason),
    )


def _in_parts(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        yield some
