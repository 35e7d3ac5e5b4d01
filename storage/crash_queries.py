"""Statements that select groups of crashes, and the filter of crashes; `crash_reader` executes them.

The number of jobs of each group by run is stored (`db.crash_group_runs`). The last run of each group is
looked up there. All runs are read of those groups only that a page shows; releases, run keys and other jobs
only of the newest of these.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

import db
from dqm2.records import CrashKind
from storage import run_queries
from storage.prepared_statements import prepared
from storage.run_queries import RunFilter

# Newest runs of the cluster that the charts show.
_RECENT_RUNS = 50
# Newest runs of a group of which the releases and run keys are read.
_DESCRIBED_RUNS = 100
# Separator of names, which have no blanks (`dqm2/field_parsers.py`). Many names are passed as a text, since
# an array takes PostgreSQL and its driver several times as long.
_BLANK = " "
_TIMES = frozenset({"since", "until"})

_jobs, _runs, _groups, _crashes = db.jobs.c, db.runs.c, db.crash_groups.c, db.crash_group_runs.c


@dataclass(frozen=True, slots=True)
class CrashFilter:
    """Crashes in runs that match a filter; `kinds`: only those of one of these kinds."""

    runs: RunFilter
    kinds: tuple[CrashKind, ...] | None = None


@cache
def select_crashed_jobs() -> sa.Select[Any]:
    """Select the newest jobs of a `crash_group`, at most `limit`, two parameters; newest first."""
    newest = (
        sa.select(db.jobs)
        .where(_jobs.crash_group == sa.bindparam("crash_group"))
        .order_by(_jobs.run.desc(), _jobs.updated_at.desc(), _jobs.identity)
        .limit(sa.bindparam("limit"))
        .subquery()
    )
    of_job = ("identity", "run", "lumisection", "exit_code", "updated_at", "crash")
    statement = sa.select(
        *(newest.c[name] for name in of_job),
        db.machines.c.label,
        run_queries.of_run(_runs.run_key, newest.c.run),
        run_queries.of_run(_runs.cmssw_version, newest.c.run),
    ).join_from(newest, db.machines, db.machines.c.id == newest.c.machine_id)
    return statement.order_by(newest.c.run.desc(), newest.c.updated_at.desc(), newest.c.identity)


@cache
def select_occurrences_in_run() -> sa.Select[Any]:
    """As `_select_occurrences`, of the groups of `run`, a parameter."""
    of_run = sa.select(_crashes.crash_group).where(_crashes.run == run_queries.RUN)
    return prepared(_select_occurrences(of_run))


def select_occurrences_of(signatures: tuple[str, ...]) -> sa.Select[Any]:
    """As `_select_occurrences`, of the groups with these signatures."""
    return _select_occurrences(
        sa.select(_groups.signature.label("crash_group")).where(_groups.signature.in_(signatures))
    )


def _select_occurrences(groups: sa.Select[Any]) -> sa.Select[Any]:
    """Select the occurrences of groups up to the run `last`, a parameter."""
    wanted = groups.subquery()
    earlier = (
        sa.select(_crashes.run)
        .where(_crashes.crash_group == wanted.c.crash_group, _crashes.run <= sa.bindparam("last"))
        .subquery()
        .lateral()
    )
    found = (
        sa.select(
            wanted.c.crash_group,
            _groups.title,
            sa.func.min(earlier.c.run).label("since"),
            sa.func.count().label("runs"),
        )
        .select_from(wanted.join(earlier, sa.true()))
        .join(db.crash_groups, _groups.signature == wanted.c.crash_group)
        .group_by(wanted.c.crash_group, _groups.title)
        .subquery()
    )
    return sa.select(found, run_queries.of_run(_runs.cmssw_version, found.c.since))


def parameters_of(crash_filter: CrashFilter) -> dict[str, Any]:
    """The parameters of statements for a filter; those of conditions that it does not have are left out."""
    runs = crash_filter.runs
    values = {
        "first": runs.first,
        "last": runs.last,
        "run_keys": runs.run_keys,
        "cmssw_versions": runs.cmssw_versions,
        "since": runs.since,
        "until": runs.until,
        "tags": runs.client_tags,
        "kinds": crash_filter.kinds,
    }
    return {name: value for name, value in values.items() if value is not None}


@cache
def select_recent_runs() -> sa.Select[Any]:
    is_in_range = _runs.run <= sa.bindparam("last")
    return sa.select(_runs.run).where(is_in_range).order_by(_runs.run.desc()).limit(_RECENT_RUNS)


# Building these takes longer than many a query. There are as many as combinations of conditions.
@cache
def select_described(given: frozenset[str]) -> sa.Select[Any]:
    """As `select_totals`, with the releases and run keys of the newest runs of a group, newest first."""
    group = select_totals(given).subquery()
    newest = _runs_of_group(group.c.signature, given).limit(_DESCRIBED_RUNS).correlate(group).subquery()
    newest_first = ((newest.c.cmssw_version, "releases"), (newest.c.run_key, "run_keys"))
    described = sa.select(
        *(
            sa.func.string_agg(column, aggregate_order_by(sa.literal(_BLANK), newest.c.run.desc())).label(
                name
            )
            for column, name in newest_first
        )
    ).lateral()
    return (
        sa.select(group, described)
        .join_from(group, described, sa.true())
        .order_by(group.c.last_run.desc(), group.c.signature)
    )


@cache
def select_totals(given: frozenset[str]) -> sa.Select[Any]:
    """Select `limit` groups, after the first `skip`, with their numbers of runs and jobs.

    They meet the conditions for which parameters are `given` (`parameters_of`, `signature`), as do the runs
    and jobs that count. `group_count` is the number of all groups that do.
    """
    last = _runs_of_group(_groups.signature, given).with_only_columns(_crashes.run.label("last_run"))
    last_run = last.limit(1).lateral()
    page = (
        sa.select(db.crash_groups, last_run.c.last_run, sa.func.count().over().label("group_count"))
        .join_from(db.crash_groups, last_run, sa.true())
        .where(*_conditions_on_group(given))
        .order_by(last_run.c.last_run.desc(), _groups.signature)
        .offset(sa.bindparam("skip"))
        .limit(sa.bindparam("limit"))
        .subquery()
    )
    totals = (
        _runs_of_group(page.c.signature, given)
        .order_by(None)
        .with_only_columns(
            sa.func.min(_crashes.run).label("first_run"),
            sa.func.count().label("runs"),
            # PostgreSQL counts in bigint, whose sum is numeric.
            sa.cast(sa.func.sum(_job_count(given)), sa.BigInteger).label("jobs"),
        )
        .lateral()
    )
    return (
        sa.select(page, totals)
        .join_from(page, totals, sa.true())
        .order_by(page.c.last_run.desc(), page.c.signature)
    )


def _runs_of_group(signature: sa.ColumnElement[str], given: frozenset[str]) -> sa.Select[Any]:
    """Select the runs of a group that meet the conditions, newest first."""
    columns = (_crashes.run, _crashes.run_key, _crashes.cmssw_version)
    is_of_group = _crashes.crash_group == signature
    return sa.select(*columns).where(is_of_group, *_conditions_on_run(given)).order_by(_crashes.run.desc())


def _conditions_on_group(given: frozenset[str]) -> Iterator[sa.ColumnElement[bool]]:
    if "signature" in given:
        yield _groups.signature == sa.bindparam("signature")
    if "tags" in given:
        yield _groups.client.in_(sa.bindparam("tags", expanding=True))
    if "kinds" in given:
        yield _groups.kind.in_(sa.bindparam("kinds", expanding=True))


def _conditions_on_run(given: frozenset[str]) -> Iterator[sa.ColumnElement[bool]]:
    """The conditions on a run of a group."""
    if "first" in given:
        yield _crashes.run.between(sa.bindparam("first"), sa.bindparam("last"))
    if "cmssw_versions" in given:
        versions: sa.BindParameter[Any] = sa.bindparam("cmssw_versions", expanding=True)
        # Follows from the release, whose runs are a small part of all. PostgreSQL then reads no others.
        is_of_release = _runs.cmssw_version.in_(versions)
        first, last = (sa.select(end(_runs.run)).where(is_of_release) for end in (sa.func.min, sa.func.max))
        yield _crashes.run.between(first.scalar_subquery(), last.scalar_subquery())
        yield _crashes.cmssw_version.in_(versions)
    if "run_keys" in given:
        yield _crashes.run_key.in_(sa.bindparam("run_keys", expanding=True))
    if given & _TIMES:
        yield sa.exists(_select_jobs_between(given))


def _job_count(given: frozenset[str]) -> sa.ColumnElement[int]:
    """The number of jobs of a group in a run that meet the conditions."""
    if not given & _TIMES:
        return _crashes.jobs
    return _select_jobs_between(given).with_only_columns(sa.func.count()).scalar_subquery()


def _select_jobs_between(given: frozenset[str]) -> sa.Select[Any]:
    """Select the jobs of a group in a run that ran between two times."""
    since, until = (sa.bindparam(name, type_=_jobs.updated_at.type) for name in ("since", "until"))
    in_time = run_queries.ran_between(
        since if "since" in given else None, until if "until" in given else None
    )
    is_of_group = (_jobs.crash_group == _crashes.crash_group, _jobs.run == _crashes.run)
    return sa.select(_jobs.run).where(*is_of_group, *in_time).correlate(db.crash_group_runs)


@cache
def select_jobs_by_run() -> sa.Select[Any]:
    """Select the numbers of jobs of groups (`signatures`) in the runs from `first` to `last`, parameters."""
    return sa.select(_crashes.crash_group, _crashes.run, _crashes.jobs).where(
        _crashes.crash_group.in_(sa.bindparam("signatures", expanding=True)),
        # PostgreSQL would look for each run of a list.
        _crashes.run.between(sa.bindparam("first"), sa.bindparam("last")),
    )


def distinct_names(names: str | None) -> tuple[str, ...]:
    """The distinct names in a text, in their order."""
    return tuple(dict.fromkeys(names.split(_BLANK))) if names else ()
