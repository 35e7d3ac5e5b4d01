"""Listing of runs for scripts: the reported values of all jobs of a range of runs, without computed states.

A range may have hundred thousands of jobs. They are read as tuples, with the columns that are listed alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import sqlalchemy as sa

import db
from storage import read_models
from storage.read_models import client_name

# Runs read at a time when many are wanted; larger pieces grow the process's memory for good.
_RUNS_PER_PIECE = 50


class ListedJob(NamedTuple):
    """Reported values of a job; `client` is its tag."""

    run: int
    client: str
    machine: str
    updated_at: datetime
    exit_code: int | None
    cmssw_run: int | None
    lumisection: int | None
    events_total: int | None
    fi_state: int | None

    @property
    def name(self) -> str:
        """The client's name, i.e. its tag without the usual suffix."""
        return client_name(self.client)


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run and its jobs, ordered by client name and start."""

    run: int
    run_key: str | None
    cmssw_version: str | None
    jobs: Sequence[ListedJob]

    @property
    def cmssw_run(self) -> int | None:
        """The run that the jobs really read, as in `Run`."""
        return read_models.cmssw_run(self.jobs)


_JOBS = sa.select(
    *(db.machines.c.label if field == "machine" else db.jobs.c[field] for field in ListedJob._fields)
).join_from(db.jobs, db.machines)
# Sorted by PostgreSQL: reading start and id of each job would take longer than all other columns.
_BY_START = (db.jobs.c.run, db.jobs.c.started_at, db.jobs.c.identity)
_RUNS = sa.select(db.runs.c.run, db.runs.c.run_key, db.runs.c.cmssw_version)


class RunListingReader:
    """Reads the runs of a range."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def list_runs(self, first: int, last: int) -> Iterator[ListedRun]:
        """The runs from `first` to `last` that have jobs, ascending.

        They are read in pieces, each by statements of its own: memory is bounded however many runs there are,
        and a slow consumer occupies no connection.
        """
        while first <= last:
            end, runs = self._list_piece(first, last, limit=_RUNS_PER_PIECE)
            yield from runs
            first = end + 1

    def list_runs_between(self, first: int, last: int) -> list[ListedRun]:
        """The runs from `first` to `last` that have jobs, ascending; for small ranges, read at once."""
        return self._list_piece(first, last, limit=None)[1]

    def _list_piece(self, first: int, last: int, *, limit: int | None) -> tuple[int, list[ListedRun]]:
        """The last run of a piece of up to `limit` runs, and its runs."""
        number = db.runs.c.run
        with self._database.connect() as connection:
            found = connection.execute(
                _RUNS.where(number.between(first, last)).order_by(number).limit(limit)
            ).all()
            end = found[-1].run if len(found) == limit else last
            of_piece = _JOBS.where(db.jobs.c.run.between(first, end)).order_by(*_BY_START)
            jobs = [ListedJob._make(row) for row in connection.execute(of_piece).all()]
        metadata = {row.run: (row.run_key, row.cmssw_version) for row in found}
        runs = [
            ListedRun(run, *metadata.get(run, (None, None)), sorted(of_run, key=attrgetter("name")))
            for run, of_run in groupby(jobs, attrgetter("run"))
        ]
        return end, runs
