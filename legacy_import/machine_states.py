"""Import of machine states. The earlier mirror stored one per poll; only changes are imported.

The time of each machine's last poll is kept, so that the age of its last known state can be shown.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db
from legacy_import import legacy_tables
from legacy_import.legacy_tables import RENAMED, LegacyTables
from storage.sync_status import MAX_REASON_CHARS

_ROWS_PER_STATEMENT = 1000
_CACHED_REASONS = 10_000


def import_states(
    connection: sa.Connection, machine_id: Callable[[str], int], redact: Callable[[str], str]
) -> None:
    """Import the changes of state; `machine_id` returns the id of a host."""
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))

    @lru_cache(_CACHED_REASONS)
    def reason(message: str | None) -> str | None:
        return redact(message)[:MAX_REASON_CHARS] if message else None

    found = connection.execute(
        state_changes(RENAMED), execution_options={"stream_results": True, "yield_per": _ROWS_PER_STATEMENT}
    )
    rows = (
        {
            "machine_id": machine_id(row.host),
            "since": row.since,
            "is_up": row.is_up,
            "reason": reason(row.message),
        }
        for row in found
    )
    # With RETURNING, SQLAlchemy inserts many rows per statement.
    statement = insert(db.machine_states).on_conflict_do_nothing().returning(db.machine_states.c.since)
    while chunk := list(islice(rows, _ROWS_PER_STATEMENT)):
        connection.execute(statement, chunk)
    connection.execute(_delete_repetitions())
    for row in connection.execute(_last_polls(RENAMED)).all():
        of_machine = sa.update(db.machines).where(db.machines.c.id == machine_id(row.host))
        connection.execute(of_machine.values(state_checked_at=row.checked_at))


def state_changes(tables: LegacyTables) -> sa.Select[Any]:
    """Each machine's changes of state, in order; host names may have a domain or not."""
    names, states = tables.hostnames, tables.hoststatuses
    host = legacy_tables.short_host(names.c.name)

    def previous(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.lag(column).over(partition_by=host, order_by=(states.c.created_at, states.c.id))

    seen = (
        sa.select(
            *(host.label("host"), states.c.created_at.label("since"), states.c.is_up, states.c.message),
            previous(states.c.is_up).label("was_up"),
            previous(states.c.message).label("previous_reason"),
        )
        .join_from(states, names, names.c.id == states.c.host_id)
        .where(_is_valid(tables))
        .subquery()
    )
    # The first state has no previous one, which is distinct from any.
    is_change = sa.or_(
        seen.c.was_up.is_distinct_from(seen.c.is_up), seen.c.previous_reason.is_distinct_from(seen.c.message)
    )
    return sa.select(seen).where(is_change).order_by(seen.c.host, seen.c.since)


def count_invalid(connection: sa.Connection, tables: LegacyTables) -> int:
    """The number of states whose host, time or state is unknown, which are not imported."""
    names, states = tables.hostnames, tables.hoststatuses
    valid = (
        sa.select(sa.func.count())
        .select_from(states.join(names, names.c.id == states.c.host_id))
        .where(_is_valid(tables))
    )
    all_states = sa.select(sa.func.count()).select_from(states).scalar_subquery()
    return connection.scalar(sa.select(all_states - valid.scalar_subquery())) or 0


def _is_valid(tables: LegacyTables) -> sa.ColumnElement[bool]:
    states = tables.hoststatuses.c
    host = legacy_tables.short_host(tables.hostnames.c.name)
    return sa.and_(states.is_up.is_not(None), legacy_tables.is_known(states.created_at), host.is_not(None))


def _last_polls(tables: LegacyTables) -> sa.Select[Any]:
    """The time of the last poll of each machine."""
    names, states = tables.hostnames, tables.hoststatuses
    host: sa.ColumnElement[Any] = legacy_tables.short_host(names.c.name)
    return (
        sa.select(host.label("host"), sa.func.max(states.c.created_at).label("checked_at"))
        .join_from(states, names, names.c.id == states.c.host_id)
        .where(_is_valid(tables))
        .group_by(host)
    )


def _delete_repetitions() -> sa.Delete:
    """Delete states that repeat the previous one: their reasons differed only before redaction.

    The first state that the grabber saw can repeat the last one of the earlier mirror as well.
    """
    states = db.machine_states.c

    def previous(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.lag(column).over(partition_by=states.machine_id, order_by=states.since)

    seen = sa.select(
        *(states.machine_id, states.since, states.is_up, states.reason),
        previous(states.is_up).label("was_up"),
        previous(states.reason).label("previous_reason"),
    ).subquery()
    return sa.delete(db.machine_states).where(
        states.machine_id == seen.c.machine_id,
        states.since == seen.c.since,
        seen.c.was_up == seen.c.is_up,
        seen.c.previous_reason.is_not_distinct_from(seen.c.reason),
    )
