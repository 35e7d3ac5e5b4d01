"""Progress of the import from an earlier mirror's tables (`legacy_import/`), and the rows that it skipped."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

import db


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """Documents of an earlier mirror: all, and those processed."""

    documents: int
    imported: int
    is_complete: bool

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


@dataclass(slots=True)
class SkippedRows:
    """Rows of an earlier mirror that were not taken over, by reason: their number in each run.

    `None` in place of a run: the row has none.
    """

    by_reason: dict[str, Counter[int | None]] = field(default_factory=dict)

    def add(self, reason: str, run: int | None, number: int = 1) -> None:
        """Count rows of a run."""
        if number:
            self.by_reason.setdefault(reason, Counter())[run] += number

    @property
    def total(self) -> int:
        """Number of rows."""
        return sum(counts.total() for counts in self.by_reason.values())

    @property
    def runs(self) -> set[int]:
        """Runs of the rows."""
        return {run for counts in self.by_reason.values() for run in counts if run is not None}

    def to_json(self) -> Mapping[str, Mapping[str, int]]:
        """Form in which a batch stores it; "" in place of a missing run."""
        return {
            reason: {"" if run is None else str(run): number for run, number in counts.items()}
            for reason, counts in self.by_reason.items()
        }


@dataclass(frozen=True, slots=True)
class SkipReport:
    """Skipped rows, and those of their runs of which nothing is mirrored."""

    skipped: SkippedRows
    lost_runs: Sequence[int]

    def lines(self, *, verbose: bool) -> list[str]:
        """Sentences for the operator; `verbose` names the runs."""
        if not self.skipped.total:
            return ["all rows were taken over"]
        lines = [f"rows not taken over: {self.skipped.total}"]
        for reason, counts in sorted(self.skipped.by_reason.items()):
            runs = sorted(run for run in counts if run is not None)
            of_runs = f", of {_runs(runs, verbose=verbose)}" if runs else ""
            lines.append(f"  {counts.total()}, {reason}{of_runs}")
        return [*lines, f"runs gone with them: {_lost(self.lost_runs, verbose=verbose)}"]


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
    return ImportProgress(found.documents, found.imported, found.is_complete)


def read_skipped(connection: sa.Connection) -> SkipReport:
    """The rows that were skipped so far."""
    skipped = SkippedRows()
    batches = db.import_batches.c
    for of_batch in connection.scalars(sa.select(batches.skipped).where(batches.skipped.is_not(None))):
        for reason, counts in of_batch.items():
            for run, number in counts.items():
                skipped.add(reason, int(run) if run else None, number)
    return SkipReport(skipped, sorted(skipped.runs - _mirrored(connection, skipped.runs)))


def _mirrored(connection: sa.Connection, runs: set[int]) -> set[int]:
    """Those of some runs of which there are jobs or a file delivery."""
    wanted = sa.any_(sa.literal(sorted(runs), sa.ARRAY(sa.Integer)))
    found = (sa.select(table.c.run).where(table.c.run == wanted) for table in (db.jobs, db.deliveries))
    return set(connection.scalars(sa.union(*found)))


def _runs(runs: Sequence[int], *, verbose: bool) -> str:
    if verbose:
        return f"run{'s' if len(runs) > 1 else ''} {', '.join(map(str, runs))}"
    return f"{len(runs)} run{'s' if len(runs) > 1 else ''}"


def _lost(runs: Sequence[int], *, verbose: bool) -> str:
    if not runs:
        return "none"
    listed = ", ".join(map(str, runs)) if verbose else "--verbose lists them"
    return f"{len(runs)} ({listed})"
