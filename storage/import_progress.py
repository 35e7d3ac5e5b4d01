"""Progress of the import from an earlier mirror's tables (`legacy_import/`)."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

import db


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """Documents of an earlier mirror: all, those processed, and those skipped, counted by reason."""

    documents: int
    imported: int
    is_complete: bool
    skipped: Mapping[str, int]

    def __str__(self) -> str:
        """A sentence for the operator."""
        if self.is_complete:
            return (
                "an earlier mirror's tables were imported and are still in the database, with raw data: "
                "`db adopt --drop` removes them"
            )
        return (
            f"an earlier mirror's tables are being imported, {self.imported} of {self.documents} documents: "
            "`db adopt` resumes it if it was stopped"
        )


def read(connection: sa.Connection) -> ImportProgress | None:
    """The progress; `None` if the database contains no tables of an earlier mirror."""
    batches = db.import_batches.c
    is_done = batches.completed_at.is_not(None)
    sums = sa.select(
        sa.func.sum(batches.documents).label("documents"),
        sa.func.coalesce(sa.func.sum(batches.documents).filter(is_done), 0).label("imported"),
        sa.func.bool_and(is_done).label("is_complete"),
    )
    found = connection.execute(sums).one()
    if found.documents is None:
        return None
    return ImportProgress(found.documents, found.imported, found.is_complete, _skipped(connection))


def _skipped(connection: sa.Connection) -> dict[str, int]:
    reasons = sa.func.jsonb_each_text(db.import_batches.c.skipped).table_valued("key", "value")
    count = sa.func.sum(sa.cast(reasons.c.value, sa.Integer)).label("count")
    statement = sa.select(reasons.c.key, count).select_from(db.import_batches.join(reasons, sa.true()))
    return dict(connection.execute(statement.group_by(reasons.c.key)).tuples().all())
