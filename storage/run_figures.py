"""Figures of many runs, which PostgreSQL computes from the rows of all their jobs.

The only jobs that are read themselves are those without an exit code: it depends on the rules of states
whether their run is ongoing. Runs that are over have few of these.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

import db
from storage import job_state
from storage.database_reader import DatabaseReader
from storage.job_state import StateRules
from storage.read_models import delivery_start
from storage.run_queries import RunFilter
from storage.run_reader import FIRST_START, fetch_jobs, select_jobs, select_newest_with_jobs

# Runs read at a time when all are wanted.
_RUNS_PER_PIECE = 100

_jobs = db.jobs.c


@dataclass(frozen=True, slots=True)
class RunFigures:
    """A run in figures of its jobs.

    `started_at` and `lumisection` are those of `Run`, and `updated_at` is the time of the newest report.
    `crashed` is the number of jobs that crashed, `crashed_clients` that of their clients. `most_events` and
    `highest_rate` (1/s) are those of a single job. `state_changes_at`: the time at which `is_ongoing` may
    change without another report.
    """

    run: int
    run_key: str | None
    cmssw_version: str | None
    started_at: datetime | None
    updated_at: datetime
    is_ongoing: bool
    lumisection: int | None
    jobs: int
    crashed: int
    crashed_clients: int
    most_events: int | None
    highest_rate: float | None
    state_changes_at: datetime | None


class _OpenJobRow(NamedTuple):
    """A job without an exit code: the inputs of its state."""

    run: int
    updated_at: datetime
    exit_code: int | None
    lumisection: int | None
    lumisection_at: datetime | None
    machine_is_mirrored: bool
    machine_clock_at: datetime | None
    machine_newest_run: int | None


_HAS_CRASHED = _jobs.exit_code != 0
_FIGURES = (
    sa.func.max(_jobs.updated_at).label("updated_at"),
    FIRST_START.label("first_start"),
    sa.func.max(_jobs.lumisection).label("lumisection"),
    sa.func.count().label("jobs"),
    sa.func.count().filter(_HAS_CRASHED).label("crashed"),
    sa.func.count(_jobs.client.distinct()).filter(_HAS_CRASHED).label("crashed_clients"),
    sa.func.max(_jobs.events_total).label("most_events"),
    sa.func.max(_jobs.events_rate).label("highest_rate"),
)


class RunFiguresReader(DatabaseReader):
    """Reads the figures of runs; whether one is ongoing follows from `rules`."""

    def __init__(self, database: sa.Engine, rules: StateRules) -> None:
        super().__init__(database)
        self._rules = rules

    def find(self, run_filter: RunFilter, *, below: int | None, limit: int) -> list[RunFigures]:
        """The figures of the newest runs that match a filter, newest first, of those `below` a run."""
        newest = select_newest_with_jobs(run_filter, *_FIGURES, below=below, limit=limit)
        open_jobs = select_jobs(_OpenJobRow, self._rules).where(_jobs.exit_code.is_(None)).order_by(_jobs.run)
        with self._database.connect() as connection:
            runs = connection.execute(newest).all()
            rows = fetch_jobs(
                connection, open_jobs.where(_jobs.run.in_([run.run for run in runs])), _OpenJobRow
            )
        by_run = {run: list(of_run) for run, of_run in groupby(rows, attrgetter("run"))}
        return [self._figures(run, by_run.get(run.run, [])) for run in runs]

    def iter_found(self, run_filter: RunFilter) -> Iterator[RunFigures]:
        """The figures of all runs that match a filter, newest first, read in pieces."""
        below = run_filter.last + 1
        while runs := self.find(run_filter, below=below, limit=_RUNS_PER_PIECE):
            yield from runs
            below = runs[-1].run

    def _figures(self, run: Any, open_jobs: list[_OpenJobRow]) -> RunFigures:
        now, stuck_after = datetime.now(UTC), self._rules.stuck_after
        states = job_state.job_states(open_jobs, stuck_after, now)
        updates = [job.updated_at for job in open_jobs]
        return RunFigures(
            run=run.run,
            run_key=run.run_key,
            cmssw_version=run.cmssw_version,
            started_at=delivery_start(run.global_start, run.updated_at) or run.first_start,
            updated_at=run.updated_at,
            is_ongoing=job_state.is_ongoing(open_jobs, stuck_after, now),
            lumisection=run.lumisection,
            jobs=run.jobs,
            crashed=run.crashed,
            crashed_clients=run.crashed_clients,
            most_events=run.most_events,
            highest_rate=run.highest_rate,
            state_changes_at=job_state.earliest_loss(zip(states, updates, strict=True)),
        )
