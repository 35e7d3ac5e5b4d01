"""Deletion of old logs and series, with their index. All other data of a job is kept.

Rows are deleted a few runs at a time. Each pass begins at the first run: a machine that is mirrored again
from the start may bring old documents at any time. Runs in which nothing is left to delete cost almost
nothing.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

import db
from dqm2.field_parsers import INT4_MAX
from storage import log_index, upserts

# About 700 jobs, deleted within some 10 ms.
_RUNS_PER_BATCH = 20


def prune(database: sa.Engine, retention: timedelta) -> Iterator[int]:
    """Delete logs and series of jobs that last reported longer ago; yields the jobs of each step."""
    before = datetime.now(UTC) - retention
    first = 0
    while first <= INT4_MAX:
        with database.begin() as connection:
            last = _end_of_batch(connection, first)
            pruned = connection.scalars(_prune(first, last, before)).all()
            if pruned:
                upserts.notify_jobs(connection, connection.scalars(_select_runs(pruned)).all())
        yield len(pruned)
        first = last + 1
    for _ in log_index.prune(database):
        yield 0


def _end_of_batch(connection: sa.Connection, first: int) -> int:
    run = db.runs.c.run
    end: int | None = connection.scalar(
        sa.select(run).where(run >= first).order_by(run).offset(_RUNS_PER_BATCH - 1).limit(1)
    )
    return INT4_MAX if end is None else end


def _prune(first: int, last: int, before: datetime) -> sa.Executable:
    """Delete the details of old jobs of a range of runs; returns their identities."""
    jobs, details = db.jobs.c, db.job_details
    old = sa.select(jobs.identity).where(jobs.run.between(first, last), jobs.updated_at < before)
    # As an array: with a join, PostgreSQL may choose to scan all details.
    is_old = details.c.identity == sa.any_(sa.func.array(old.scalar_subquery()))
    return sa.delete(details).where(is_old).returning(details.c.identity)


def _select_runs(identities: Sequence[UUID]) -> sa.Select[Any]:
    is_one = db.jobs.c.identity == sa.any_(sa.literal(list(identities), sa.ARRAY(sa.Uuid)))
    return sa.select(db.jobs.c.run).where(is_one).distinct()
