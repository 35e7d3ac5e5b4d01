"""What there is to take over, in the order in which it is: runs, the newest first, some of them at a time.

The list is in the database, so that nobody does what is done, and several processes share it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

import db
from legacy_import import legacy_tables
from legacy_import.legacy_tables import EarlierTables

# A second or two of work. Of a run that has more, all are one batch.
_DOCUMENTS_A_BATCH = 500


@dataclass(frozen=True, slots=True)
class Batch:
    """The documents of the runs from one to another; of no runs: the ups and downs of machines."""

    number: int
    first_run: int | None
    last_run: int | None
    documents: int


def planned(connection: sa.Connection, tables: EarlierTables) -> list[Batch]:
    """All that there is to take over, what goes quickly first."""
    runs = sa.select(tables.runs.c.run).where(tables.runs.c.run.is_not(None))
    documents = sa.union_all(runs, sa.select(tables.graphs.c.run)).subquery()
    of_run = sa.select(documents.c.run, sa.func.count().label("number")).group_by(documents.c.run).subquery()
    behind = sa.cast(sa.func.sum(of_run.c.number).over(order_by=of_run.c.run.desc()), sa.BigInteger)
    placed = sa.select(of_run, ((behind - 1) // _DOCUMENTS_A_BATCH).label("at")).subquery()
    statement = (
        sa.select(
            sa.func.min(placed.c.run).label("first_run"),
            sa.func.max(placed.c.run).label("last_run"),
            sa.cast(sa.func.sum(placed.c.number), sa.Integer).label("documents"),
        )
        .group_by(placed.c.at)
        .order_by(sa.desc("last_run"))
    )
    found = [
        Batch(number, row.first_run, row.last_run, row.documents)
        for number, row in enumerate(connection.execute(statement), start=1)
    ]
    return [Batch(0, None, None, 0), *found] if legacy_tables.has_states(connection, tables) else found


def keep(connection: sa.Connection, batches: Sequence[Batch]) -> None:
    """Writes the list down; without anything in it, that there was nothing."""
    kept = batches or [Batch(0, 0, 0, 0)]
    rows = [
        {"number": it.number, "first_run": it.first_run, "last_run": it.last_run, "documents": it.documents}
        for it in kept
    ]
    connection.execute(sa.insert(db.import_batches), rows)


def take(connection: sa.Connection) -> Batch | None:
    """The first batch that is not done and that nobody has in hand, to the end of the transaction."""
    table = db.import_batches
    statement = (
        sa.select(table.c.number, table.c.first_run, table.c.last_run, table.c.documents)
        .where(table.c.done_at.is_(None))
        .order_by(table.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else Batch(*row)


def complete(connection: sa.Connection, batch: Batch, left_out: Mapping[str, int]) -> None:
    """Marks a batch as done; `left_out` of it could not be taken over, by reason."""
    table = db.import_batches
    statement = sa.update(table).where(table.c.number == batch.number)
    connection.execute(statement.values(done_at=sa.func.now(), left_out=dict(left_out)))
