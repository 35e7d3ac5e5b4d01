"""Filter of runs, and the statements that select the runs that match it."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

import db
from storage.read_models import client_tags


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Runs from `first` to `last` that have jobs and match all conditions given.

    `crashed_only`: a job of the run crashed. `with_lumisections`: a job of it reached a lumisection.
    `client`: the run has a job of the client of this name, and both conditions above apply to such jobs.
    """

    first: int
    last: int
    crashed_only: bool = False
    with_lumisections: bool = False
    run_key: str | None = None
    cmssw_version: str | None = None
    client: str | None = None


def select_runs(run_filter: RunFilter) -> sa.Select[Any]:
    """Select the numbers of the runs that match."""
    runs, jobs = db.runs.c, db.jobs.c
    of_client = sa.true() if run_filter.client is None else jobs.client.in_(client_tags(run_filter.client))
    is_in_range = runs.run.between(run_filter.first, run_filter.last)
    statement = sa.select(runs.run).where(is_in_range, _has_job(of_client))
    if run_filter.crashed_only:
        statement = statement.where(_has_job(of_client, jobs.exit_code != 0))
    if run_filter.with_lumisections:
        statement = statement.where(_has_job(of_client, jobs.lumisection > 0))
    if run_filter.run_key is not None:
        statement = statement.where(runs.run_key == run_filter.run_key)
    if run_filter.cmssw_version is not None:
        statement = statement.where(runs.cmssw_version == run_filter.cmssw_version)
    return statement


def select_newest_runs(run_filter: RunFilter, *, below: int | None, limit: int) -> sa.Select[Any]:
    """Select the numbers of the newest runs that match, newest first, of those `below` a run."""
    statement = select_runs(run_filter).order_by(db.runs.c.run.desc()).limit(limit)
    return statement if below is None else statement.where(db.runs.c.run < below)


def _has_job(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.exists().where(db.jobs.c.run == db.runs.c.run, *conditions)
