"""How far the adoption of an earlier mirror's tables is, for those who are to be told (`adoption/`)."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

import db


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """Of so many documents of an earlier mirror so many were looked at; `left_out` of them, by reason."""

    documents: int
    imported: int
    is_complete: bool
    skipped: Mapping[str, int]

    def __str__(self) -> str:
        """A sentence for the operator."""
        if self.is_complete:
            return (
                "an earlier mirror's tables were taken over and are still here, raw as they are: "
                "`db adopt --drop` removes them"
            )
        return (
            f"an earlier mirror's tables are being taken over, {self.imported} of {self.documents}"
            " documents: `db adopt` goes on if it was ended"
        )


def read(connection: sa.Connection) -> ImportProgress | None:
    """How far it is; `None` where there is nothing of an earlier mirror, or no longer."""
    batches = db.import_batches.c
    is_done = batches.done_at.is_not(None)
    sums = sa.select(
        sa.func.sum(batches.documents).label("documents"),
        sa.func.coalesce(sa.func.sum(batches.documents).filter(is_done), 0).label("done"),
        sa.func.bool_and(is_done).label("is_complete"),
    )
    found = connection.execute(sums).one()
    if found.documents is None:
        return None
    return ImportProgress(found.documents, found.done, found.is_complete, _left_out(connection))


def _left_out(connection: sa.Connection) -> dict[str, int]:
    reasons = sa.func.jsonb_each_text(db.import_batches.c.left_out).table_valued("key", "value")
    number = sa.func.sum(sa.cast(reasons.c.value, sa.Integer)).label("number")
    statement = sa.select(reasons.c.key, number).select_from(db.import_batches.join(reasons, sa.true()))
    return {row.key: row.number for row in connection.execute(statement.group_by(reasons.c.key))}
