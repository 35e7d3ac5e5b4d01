"""What is read of many runs at once where only their outline is shown."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import sqlalchemy as sa

import db
from storage import job_rows, job_state, run_queries
from storage.read_models import JobSummary, RunSummary, client_name
from storage.run_queries import RunFilter


class _JobRow(NamedTuple):
    """A job in outline with what its state depends on."""

    run: int
    client: str
    started_at: datetime
    updated_at: datetime
    exit_code: int | None
    lumisection: int | None
    lumisection_at: datetime | None
    events_total: int | None
    machine_clock_at: datetime | None
    machine_newest_run: int | None


_JOBS = job_rows.select(_JobRow)


class OutlineReader:
    """Reads a cluster's runs in outline. `stuck_after` is how long a silent job is not yet stuck."""

    def __init__(self, database: sa.Engine, stuck_after: timedelta) -> None:
        self._database = database
        self._stuck_after = stuck_after

    def run_summaries(self, run_filter: RunFilter, *, below: int | None, limit: int) -> list[RunSummary]:
        """The newest runs that a search finds, at `most` so many, of those `below` a run; newest first."""
        numbers = run_queries.select_newest_runs(run_filter, below=below, limit=limit)
        run = db.jobs.c.run
        with self._database.connect() as connection:
            found = connection.execute(numbers.add_columns(db.runs.c.run_key)).all()
            run_keys: dict[int, str | None] = {row.run: row.run_key for row in found}
            # By identity too, so that jobs of one moment always come in the same order.
            of_runs = _JOBS.where(run.in_(run_keys)).order_by(run.desc(), db.jobs.c.identity)
            rows = job_rows.read(connection, of_runs, _JobRow)
        return [
            self._outline(number, run_keys[number], list(of_run))
            for number, of_run in groupby(rows, attrgetter("run"))
        ]

    def _outline(self, run: int, run_key: str | None, rows: Sequence[_JobRow]) -> RunSummary:
        found = zip(rows, job_state.job_states(rows, self._stuck_after), strict=True)
        jobs = [
            JobSummary(client_name(row.client), row.started_at, state, row.events_total)
            for row, state in found
        ]
        return RunSummary(run, run_key, tuple(sorted(jobs, key=attrgetter("name", "started_at"))))
