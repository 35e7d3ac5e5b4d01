"""Marks of groups of crashes, such as "new" or "regression", and the query that they follow from."""

from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from typing import Any

import sqlalchemy as sa

import db
from storage.run_queries import select_newest_runs_with_job

# A client always crashes if it did in so many of so many of its newest runs.
_ALWAYS, _ALWAYS_OF = 9, 10
# Newest runs of a group that are searched for a lumisection.
_EXPECTED_RUNS = 10

_jobs, _runs, _groups, _crashes = db.jobs.c, db.runs.c, db.crash_groups.c, db.crash_group_runs.c


class CrashMark(StrEnum):
    """Remark on a group of crashes.

    `new`: it is new in the newest run (`is_new`). `regression`: it is back in the release of
    its last run, after one in which the client ran without it. `always`: the client crashed like this in nine
    of its last ten runs. `expected`: its last ten runs had no lumisection.
    """

    NEW = "new"
    REGRESSION = "regression"
    ALWAYS = "always"
    EXPECTED = "expected"


def is_new(first_run: int, first_release: str | None, run: int, release: str | None) -> bool:
    """Whether a group is new in a run: it was first seen in this run, or in one with its release."""
    return first_run == run or (first_release is not None and first_release == release)


def marks(row: Any) -> Iterator[CrashMark]:
    """The marks of a group by its row of `select_facts`."""
    if is_new(row.first_run, row.first_release, row.newest_run, row.newest_release):
        yield CrashMark.NEW
    elif (
        row.release_before is not None and row.first_run < row.release_began and not row.was_in_release_before
    ):
        yield CrashMark.REGRESSION
    if row.crashed_of_last >= _ALWAYS:
        yield CrashMark.ALWAYS
    if not row.had_lumisections:
        yield CrashMark.EXPECTED


@cache
def select_facts() -> sa.Select[Any]:
    """Select the first run of each group of `signatures`, a parameter, and what its marks follow from.

    Each value is found by an index. Building the statement takes longer than many a query.
    """
    group = _groups_with_releases()
    was_in_release_before = (
        sa.exists()
        .where(
            _crashes.crash_group == group.c.signature,
            _crashes.cmssw_version == group.c.release_before,
            # Follows from the release. PostgreSQL then reads no other runs of the group.
            _crashes.run.between(
                _end_of_release(sa.func.min, group.c.release_before),
                _end_of_release(sa.func.max, group.c.release_before),
            ),
        )
        .correlate(group)
    )
    newest_run = sa.select(sa.func.max(_runs.run))
    newest_release = (
        sa.select(_runs.cmssw_version)
        .where(_runs.cmssw_version.is_not(None))
        .order_by(_runs.run.desc())
        .limit(1)
    )
    return sa.select(
        group,
        was_in_release_before.label("was_in_release_before"),
        newest_run.scalar_subquery().label("newest_run"),
        newest_release.scalar_subquery().label("newest_release"),
        _crashed_of_last(group).label("crashed_of_last"),
        _had_lumisections(group).label("had_lumisections"),
    )


def _groups_with_releases() -> sa.CTE:
    """The groups with their first and last runs, the releases of these, and the release before the last."""
    first, last = (_run_of_group(_crashes.run.asc()), _run_of_group(_crashes.run.desc()))
    with_releases = _computed_once(
        sa.select(
            _groups.signature,
            _groups.client,
            first.c.run.label("first_run"),
            first.c.cmssw_version.label("first_release"),
            last.c.run.label("last_run"),
            last.c.cmssw_version.label("last_release"),
        )
        .join_from(db.crash_groups, first, sa.true())
        .join(last, sa.true())
        .where(_groups.signature.in_(sa.bindparam("signatures", expanding=True)))
    )
    began = _end_of_release(sa.func.min, with_releases.c.last_release)
    with_beginning = _computed_once(sa.select(with_releases, began.label("release_began")))
    return _computed_once(sa.select(with_beginning, _release_before(with_beginning).label("release_before")))


def _release_before(group: sa.CTE) -> sa.ScalarSelect[Any]:
    """The last release in which the client of a group ran before the release of the group's last run."""
    return (
        sa.select(_runs.cmssw_version)
        .join_from(db.jobs, db.runs, _runs.run == _jobs.run)
        .where(
            _jobs.client == group.c.client,
            _jobs.run < group.c.release_began,
            # A condition on both tables, so that PostgreSQL reads no later run of either.
            _runs.run < group.c.release_began,
            _runs.cmssw_version.is_not(None),
        )
        .order_by(_jobs.run.desc())
        .limit(1)
        .scalar_subquery()
    )


def _computed_once(statement: sa.Select[Any]) -> sa.CTE:
    """The rows of a statement. PostgreSQL would compute a value of a subquery again wherever it is used."""
    return statement.cte().prefix_with("MATERIALIZED")


def _run_of_group(order: sa.ColumnElement[int]) -> sa.FromClause:
    """The first run of a group in an order, with its release."""
    of_group = sa.select(_crashes.run, _crashes.cmssw_version).where(
        _crashes.crash_group == _groups.signature
    )
    return of_group.order_by(order).limit(1).lateral()


def _end_of_release(function: Any, release: sa.ColumnElement[str]) -> sa.ScalarSelect[Any]:
    """The first or the last run of a release."""
    runs = db.runs.alias()
    of_release = sa.select(function(runs.c.run)).where(runs.c.cmssw_version == release)
    return of_release.correlate_except(runs).scalar_subquery()


def _crashed_of_last(group: sa.CTE) -> sa.ScalarSelect[Any]:
    """The number of the client's last runs in which it crashed like this."""
    is_of_client = _jobs.client == group.c.client
    last = select_newest_runs_with_job(is_of_client, limit=_ALWAYS_OF).correlate(group).subquery()
    return (
        sa.select(sa.func.count())
        .where(
            _crashes.crash_group == group.c.signature,
            _crashes.run >= sa.select(sa.func.min(last.c.run)).scalar_subquery(),
        )
        .scalar_subquery()
    )


def _had_lumisections(group: sa.CTE) -> sa.Exists:
    """Whether a job reached a lumisection in one of the newest runs of a group."""
    newest = (
        sa.select(_crashes.run)
        .where(_crashes.crash_group == group.c.signature)
        .order_by(_crashes.run.desc())
        .limit(_EXPECTED_RUNS)
        .correlate(group)
        .subquery()
    )
    reached = sa.exists().where(_jobs.run == newest.c.run, _jobs.lumisection > 0)
    return sa.select(1).select_from(newest).where(reached).exists()
