"""Statements that select runs, and the filter of runs; `run_reader` and others execute them.

A statement that is the same for every page is built once, with parameters by name: building one takes longer
than PostgreSQL takes to execute it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

import db
from storage.client_names import client_tags

# Parameters of statements that are built once.
RUN: sa.BindParameter[int] = sa.bindparam("run", type_=sa.Integer)
RUN_KEY: sa.BindParameter[str] = sa.bindparam("run_key", type_=sa.Text)
CLIENT: sa.BindParameter[str] = sa.bindparam("client", type_=sa.Text)

# Only the starts of jobs are indexed. A job that runs for longer than this is found by its first days only.
_LONGEST_JOB = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Runs from `first` to `last` that have jobs and match all conditions given.

    `crashed_only`: a job of the run crashed. `with_lumisections`: a job of it reached a lumisection.
    `run_keys`, `cmssw_versions`: it has one of these. `clients`: it has a job of a client of one of these
    names. `since` and `until`: a job of it ran in between. The same job has to meet all conditions on jobs.
    """

    first: int
    last: int
    crashed_only: bool = False
    with_lumisections: bool = False
    run_keys: tuple[str, ...] | None = None
    cmssw_versions: tuple[str, ...] | None = None
    clients: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def matches_all(self) -> bool:
        """Whether all runs of the range that have jobs match."""
        return self == RunFilter(self.first, self.last)

    @property
    def client_tags(self) -> tuple[str, ...] | None:
        """The tags of its clients; `None` if no clients are given."""
        if self.clients is None:
            return None
        return tuple(tag for name in self.clients for tag in client_tags(name))

    @property
    def has_clients_only(self) -> bool:
        """Whether it has no other condition than the range and the clients."""
        return self == RunFilter(self.first, self.last, clients=self.clients)


def select_runs(run_filter: RunFilter) -> sa.Select[Any]:
    """Select the numbers of the runs that match."""
    runs, jobs = db.runs.c, db.jobs.c
    first, last = run_filter.first, run_filter.last
    of_jobs = [*is_of_clients(run_filter), *ran_between(run_filter.since, run_filter.until)]
    if run_filter.clients is not None:
        # Follows from the range of runs. PostgreSQL then reads no other jobs of these clients.
        of_jobs.append(jobs.run.between(first, last))
    statement = sa.select(runs.run).where(runs.run.between(first, last), _has_job(*of_jobs))
    if run_filter.crashed_only:
        statement = statement.where(_has_job(*of_jobs, jobs.exit_code != 0))
    if run_filter.with_lumisections:
        statement = statement.where(_has_job(*of_jobs, jobs.lumisection > 0))
    if run_filter.run_keys is not None:
        statement = statement.where(runs.run_key.in_(run_filter.run_keys))
    if run_filter.cmssw_versions is not None:
        statement = statement.where(runs.cmssw_version.in_(run_filter.cmssw_versions))
    return statement


def select_newest_runs(run_filter: RunFilter, *, below: int | None, limit: int) -> sa.Select[Any]:
    """Select the numbers of the newest runs that match, newest first, of those `below` a run."""
    statement = select_runs(run_filter).order_by(db.runs.c.run.desc()).limit(limit)
    return statement if below is None else statement.where(db.runs.c.run < below)


def select_newest_runs_with_job(*conditions: sa.ColumnElement[bool], limit: int) -> sa.Select[Any]:
    """Select the numbers of the newest runs with a job that meets all conditions, newest first."""
    run = db.jobs.c.run
    return sa.select(run).where(*conditions).group_by(run).order_by(run.desc()).limit(limit)


def select_runs_with_key(
    run_key: str | sa.ColumnElement[str], *, before: int | sa.ColumnElement[int], limit: int
) -> sa.Select[Any]:
    """Select the numbers of the newest runs before a run with a run key, newest first."""
    runs = db.runs.c
    is_earlier = sa.and_(runs.run < before, runs.run_key == run_key)
    return sa.select(runs.run).where(is_earlier).order_by(runs.run.desc()).limit(limit)


def of_run(column: sa.Column[Any], run: sa.ColumnElement[int]) -> sa.Label[Any]:
    """A column of a run, which is found by its index."""
    runs = db.runs.alias()
    return sa.select(runs.c[column.name]).where(runs.c.run == run).scalar_subquery().label(column.name)


@cache
def select_distinct_values(column: sa.Column[Any]) -> sa.Select[Any]:
    """Select the distinct values of a column by one index lookup each, however many rows there are.

    PostgreSQL reads all rows for DISTINCT; its wiki describes this "loose index scan".
    """
    found = sa.select(sa.func.min(column).label("value")).cte(recursive=True)
    following = sa.select(sa.func.min(column)).where(column > found.c.value).scalar_subquery()
    found = found.union_all(sa.select(following).where(found.c.value.is_not(None)))
    return sa.select(found.c.value).where(found.c.value.is_not(None))


@cache
def select_clients() -> sa.Select[Any]:
    """Select the tags of the clients that have a job in a run from `first` to `last`, two parameters."""
    jobs = db.jobs.c
    tag = select_distinct_values(jobs.client).subquery().c.value
    is_in_range = jobs.run.between(sa.bindparam("first"), sa.bindparam("last"))
    in_range = sa.exists().where(jobs.client == tag, is_in_range)
    return sa.select(tag).where(in_range)


def select_span_between(since: datetime | None, until: datetime | None) -> sa.Select[Any]:
    """Select the lowest and the highest run that may have a job which ran between two times."""
    jobs = db.jobs.c
    statement = sa.select(sa.func.min(jobs.run), sa.func.max(jobs.run))
    if since is not None:
        statement = statement.where(jobs.started_at >= since - _LONGEST_JOB)
    return statement if until is None else statement.where(jobs.started_at < until)


def newest_report_first(columns: Any) -> tuple[sa.ColumnElement[Any], ...]:
    """The order of the reports of several machines of the same run."""
    return columns.updated_at.desc(), columns.identity


def is_of_job(run_filter: RunFilter) -> Iterator[sa.ColumnElement[bool]]:
    """The conditions of a filter on a job and its run, apart from the range of runs."""
    yield from is_of_clients(run_filter)
    yield from ran_between(run_filter.since, run_filter.until)
    if run_filter.run_keys is not None:
        yield of_run(db.runs.c.run_key, db.jobs.c.run).in_(run_filter.run_keys)
    if run_filter.cmssw_versions is not None:
        yield of_run(db.runs.c.cmssw_version, db.jobs.c.run).in_(run_filter.cmssw_versions)


def is_of_clients(run_filter: RunFilter) -> Iterator[sa.ColumnElement[bool]]:
    """The condition that a job is of one of the clients of a filter; none if no clients are given."""
    if run_filter.client_tags is not None:
        yield db.jobs.c.client.in_(run_filter.client_tags)


def ran_between(
    since: datetime | sa.BindParameter[datetime] | None, until: datetime | sa.BindParameter[datetime] | None
) -> Iterator[sa.ColumnElement[bool]]:
    """The conditions that a job ran between two times; none for a time that is not given."""
    if since is not None:
        yield db.jobs.c.updated_at >= since
    if until is not None:
        yield db.jobs.c.started_at < until


def _has_job(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.exists().where(db.jobs.c.run == db.runs.c.run, *conditions)
