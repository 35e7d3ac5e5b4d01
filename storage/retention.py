"""What is not kept for good: logs and series of jobs that last reported too long ago. All else stays.

They go a few runs at a time. Old documents may come at any time, from a machine that is mirrored anew, so
that each pass begins at the first run; where nothing is left to take away it costs next to nothing.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

import db

# About 700 jobs, taken away within some 10 ms.
_RUNS_AT_A_TIME = 20
_MOST_RUN = 2**31 - 1


def prune(database: sa.Engine, keep: timedelta) -> Iterator[int]:
    """Takes away what is older than `keep`, batch by batch; each batch's number of jobs."""
    before = datetime.now(UTC) - keep
    first = 0
    while first <= _MOST_RUN:
        with database.begin() as connection:
            last = _end_of_batch(connection, first)
            pruned = connection.execute(_prune(first, last, before)).rowcount
        yield pruned
        first = last + 1


def _end_of_batch(connection: sa.Connection, first: int) -> int:
    run = db.runs.c.run
    end: int | None = connection.scalar(
        sa.select(run).where(run >= first).order_by(run).offset(_RUNS_AT_A_TIME - 1).limit(1)
    )
    return _MOST_RUN if end is None else end


def _prune(first: int, last: int, before: datetime) -> sa.Delete:
    jobs, details = db.jobs.c, db.job_details
    old = sa.select(jobs.identity).where(jobs.run.between(first, last), jobs.updated_at < before)
    # As an array: a join would be free to read all details for the few that go.
    return sa.delete(details).where(details.c.identity == sa.any_(sa.func.array(old.scalar_subquery())))
