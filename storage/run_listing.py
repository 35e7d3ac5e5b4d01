"""Listing of runs for scripts: the reported values of all jobs of a range of runs, without computed states.

A range may have hundreds of thousands of jobs. They are read as tuples with only the listed columns.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from typing import NamedTuple

import sqlalchemy as sa

import db
from storage import read_models
from storage.client_names import client_name
from storage.database_reader import DatabaseReader

# Runs read at a time when many are wanted; larger pieces grow the process's memory permanently.
_RUNS_PER_PIECE = 50


class ListedJob(NamedTuple):
    """Reported values of a job; `client` is its tag, and `started_at` the time of its first report."""

    run: int
    client: str
    started_at: datetime
    machine: str
    updated_at: datetime
    exit_code: int | None
    cmssw_run: int | None
    lumisection: int | None
    events_total: int | None
    fi_state: int | None


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
# By the index of runs and clients, so that few jobs are left to compare.
_IN_ORDER = (db.jobs.c.run, db.jobs.c.client, db.jobs.c.started_at, db.jobs.c.identity)
_RUNS = sa.select(db.runs.c.run, db.runs.c.run_key, db.runs.c.cmssw_version)


class RunListingReader(DatabaseReader):
    """Reads the runs of a range."""

    def iter_range(self, first: int, last: int) -> Iterator[ListedRun]:
        """The runs from `first` to `last` that have jobs, ascending.

        They are read in pieces, each by statements of its own: memory is bounded however many runs there are,
        and a slow consumer occupies no connection.
        """
        while first <= last:
            end, runs = self._list_piece(first, last, limit=_RUNS_PER_PIECE)
            yield from runs
            first = end + 1

    def read_range(self, first: int, last: int) -> list[ListedRun]:
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
            of_piece = _JOBS.where(db.jobs.c.run.between(first, end)).order_by(*_IN_ORDER)
            jobs = list(map(ListedJob._make, connection.execute(of_piece).all()))
        metadata = {row.run: (row.run_key, row.cmssw_version) for row in found}
        runs = [
            ListedRun(run, *metadata.get(run, (None, None)), _by_name(of_run))
            for run, of_run in groupby(jobs, attrgetter("run"))
        ]
        return end, runs


def _by_name(jobs: Iterable[ListedJob]) -> list[ListedJob]:
    """The jobs of a run by the name of their client and by start; they are given by its tag and by start."""
    by_tag = [(client_name(tag), list(of_tag)) for tag, of_tag in groupby(jobs, attrgetter("client"))]
    by_name: list[ListedJob] = []
    for _, same in groupby(sorted(by_tag, key=itemgetter(0)), itemgetter(0)):
        of_tags = [of_tag for _, of_tag in same]
        # Two tags may have the same name.
        by_name += of_tags[0] if len(of_tags) == 1 else sorted(chain(*of_tags), key=attrgetter("started_at"))
    return by_name
