"""Queries about groups of crashes: their runs, releases, run keys and marks.

The number of jobs of each group by run is stored (`db.crash_group_runs`). The last run of each group is
looked up there. All runs are read of those groups only that a page shows; releases, run keys and other jobs
only of the newest of these.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

import db
from dqm2.field_parsers import INT4_MAX
from dqm2.records import CrashKind, CrashReason
from storage import client_runs, crash_groups, crash_marks, log_findings, run_queries
from storage.client_names import client_tags
from storage.crash_groups import CrashGroup
from storage.crash_marks import CrashMark
from storage.database_reader import DatabaseReader
from storage.prepared_statements import prepared
from storage.read_models import Run
from storage.run_queries import RunFilter

# Newest runs of the cluster that the charts show.
_RECENT_RUNS = 50
# Newest runs of a group of which the releases and run keys are read.
_DESCRIBED_RUNS = 100
# Between names, which have none (`dqm2/field_parsers.py`); many names are a text rather than an array, which
# takes PostgreSQL and its driver several times as long.
_BLANK = " "
_TIMES = frozenset({"since", "until"})

_jobs, _runs, _groups, _crashes = db.jobs.c, db.runs.c, db.crash_groups.c, db.crash_group_runs.c


@dataclass(frozen=True, slots=True)
class CrashFilter:
    """Crashes in runs that match a filter; `kinds`: only those of one of these kinds."""

    runs: RunFilter
    kinds: tuple[CrashKind, ...] | None = None


@dataclass(frozen=True, slots=True)
class CrashGroupSummary:
    """A group of crashes; the numbers of jobs and runs are those of the runs that match the filter.

    `since` is the first of all its runs. `releases` and `run_keys` are those of the newest runs, newest
    first. `recent` has the number of jobs by run, for the newest runs of the cluster.
    """

    group: CrashGroup
    since: int
    first_run: int
    last_run: int
    runs: int
    jobs: int
    releases: tuple[str, ...]
    run_keys: tuple[str, ...]
    marks: tuple[CrashMark, ...]
    recent: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class CrashGroupOutline:
    """A group of crashes with its last run, the number of its runs, and its marks."""

    group: CrashGroup
    last_run: int
    runs: int
    marks: tuple[CrashMark, ...]


@dataclass(frozen=True, slots=True)
class FoundCrashGroups:
    """A page of the groups found, the most recent first, and the number of all groups found.

    `recent_runs` are the newest runs of the cluster within the filter's range, ascending.
    """

    groups: tuple[CrashGroupSummary, ...]
    count: int
    recent_runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CrashedJob:
    """A job of a group of crashes, with what is known of its run."""

    id: UUID
    run: int
    machine: str
    lumisection: int | None
    exit_code: int
    updated_at: datetime
    crash: CrashReason | None
    run_key: str | None
    cmssw_version: str | None


@dataclass(frozen=True, slots=True)
class CrashOccurrences:
    """A group's title, its first run with its release, and the number of its runs up to some run."""

    title: str
    since: int
    release: str | None
    runs: int

    def is_new_in(self, run: Run) -> bool:
        """Whether the group is new in one of its runs."""
        return crash_marks.is_new(self.since, self.release, run.run, run.cmssw_version)


class CrashReader(DatabaseReader):
    """Reads the groups of crashes of a cluster."""

    def find_groups(self, crash_filter: CrashFilter, *, skip: int, limit: int) -> FoundCrashGroups:
        """The groups with a crash that matches a filter, without the first `skip` of them."""
        parameters = _parameters(crash_filter) | {"skip": skip, "limit": limit}
        with self._database.connect() as connection:
            recent_runs = _recent_runs(connection, crash_filter.runs.last)
            found = connection.execute(_select_described(frozenset(parameters)), parameters).all()
            groups = tuple(_summaries(connection, found, recent_runs))
        return FoundCrashGroups(groups, found[0].group_count if found else 0, recent_runs)

    def group(self, signature: str) -> FoundCrashGroups:
        """A group with all its crashes; empty if no job has this signature."""
        parameters = {"signature": signature, "skip": 0, "limit": 1}
        with self._database.connect() as connection:
            recent_runs = _recent_runs(connection, INT4_MAX)
            found = connection.execute(_select_described(frozenset(parameters)), parameters).all()
            groups = tuple(_summaries(connection, found, recent_runs))
        return FoundCrashGroups(groups, len(found), recent_runs)

    def groups_of_client(self, client: str, limit: int) -> list[CrashGroupOutline]:
        """The groups of a client (by name), the last to occur first."""
        parameters = {"tags": client_tags(client), "skip": 0, "limit": limit}
        with self._database.connect() as connection:
            found = connection.execute(_select_totals(frozenset(parameters)), parameters).all()
            facts = _facts(connection, [row.signature for row in found])
        return [
            CrashGroupOutline(_group(row), row.last_run, row.runs, _marks(facts[row.signature]))
            for row in found
            if row.signature in facts
        ]

    def jobs(self, signature: str, limit: int) -> list[CrashedJob]:
        """The newest jobs of a group, newest first."""
        with self._database.connect() as connection:
            rows = connection.execute(_select_crashed_jobs(), {"crash_group": signature, "limit": limit})
            return [
                CrashedJob(
                    id=row.identity,
                    run=row.run,
                    machine=row.label,
                    lumisection=row.lumisection,
                    exit_code=row.exit_code,
                    updated_at=row.updated_at,
                    crash=log_findings.read_crash(row.crash),
                    run_key=row.run_key,
                    cmssw_version=row.cmssw_version,
                )
                for row in rows
            ]

    def client_run_count(self, client: str, first: int) -> int:
        """The number of runs from `first` on that have a job of a client (tag)."""
        with self._database.connect() as connection:
            return client_runs.find_span(connection, (client,), first=first, last=INT4_MAX).count

    def occurrences_in(self, run: int) -> dict[str, CrashOccurrences]:
        """Occurrences of the groups of a run up to that run, by signature."""
        return self._occurrences(_select_occurrences_in_run(), {"run": run, "last": run})

    def occurrences(self, signatures: tuple[str, ...], last: int) -> dict[str, CrashOccurrences]:
        """Occurrences of groups up to a run, by signature."""
        groups = sa.select(_groups.signature.label("crash_group")).where(_groups.signature.in_(signatures))
        return self._occurrences(_select_occurrences(groups), {"last": last})

    def _occurrences(
        self, statement: sa.Select[Any], parameters: Mapping[str, int]
    ) -> dict[str, CrashOccurrences]:
        with self._database.connect() as connection:
            rows = connection.execute(statement, parameters).all()
        return {
            row.crash_group: CrashOccurrences(row.title, row.since, row.cmssw_version, row.runs)
            for row in rows
        }


@cache
def _select_crashed_jobs() -> sa.Select[Any]:
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
def _select_occurrences_in_run() -> sa.Select[Any]:
    """As `_select_occurrences`, of the groups of `run`, a parameter."""
    of_run = sa.select(_crashes.crash_group).where(_crashes.run == run_queries.RUN)
    return prepared(_select_occurrences(of_run))


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


def _parameters(crash_filter: CrashFilter) -> dict[str, Any]:
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


def _recent_runs(connection: sa.Connection, last: int) -> tuple[int, ...]:
    """The newest runs up to `last`, ascending."""
    return tuple(reversed(connection.scalars(_select_recent_runs(), {"last": last}).all()))


@cache
def _select_recent_runs() -> sa.Select[Any]:
    is_in_range = _runs.run <= sa.bindparam("last")
    return sa.select(_runs.run).where(is_in_range).order_by(_runs.run.desc()).limit(_RECENT_RUNS)


# Building these takes longer than many a query. There are as many as combinations of conditions.
@cache
def _select_described(given: frozenset[str]) -> sa.Select[Any]:
    """As `_select_totals`, with the releases and run keys of the newest runs of a group, newest first."""
    group = _select_totals(given).subquery()
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
def _select_totals(given: frozenset[str]) -> sa.Select[Any]:
    """Select `limit` groups, after the first `skip`, with their numbers of runs and jobs.

    They meet the conditions for which parameters are `given` (`_parameters`, `signature`), as do the runs
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


def _summaries(
    connection: sa.Connection, found: Collection[Any], recent_runs: Sequence[int]
) -> Iterator[CrashGroupSummary]:
    """The groups of the rows of `_select_described` that still exist."""
    signatures = [row.signature for row in found]
    if not signatures:
        return
    facts = _facts(connection, signatures)
    recent: dict[str, dict[int, int]] = {}
    first, last = (recent_runs[0], recent_runs[-1]) if recent_runs else (0, 0)
    in_recent = {"signatures": signatures, "first": first, "last": last}
    for row in connection.execute(_select_recent(), in_recent):
        recent.setdefault(row.crash_group, {})[row.run] = row.jobs
    for row in found:
        if row.signature not in facts:
            continue  # The rules have changed meanwhile, and it was left without jobs and deleted.
        yield CrashGroupSummary(
            group=_group(row),
            since=facts[row.signature].first_run,
            first_run=row.first_run,
            last_run=row.last_run,
            runs=row.runs,
            jobs=row.jobs,
            releases=_distinct(row.releases),
            run_keys=_distinct(row.run_keys),
            marks=_marks(facts[row.signature]),
            recent=recent.get(row.signature, {}),
        )


def _facts(connection: sa.Connection, signatures: Collection[str]) -> dict[str, Any]:
    """The rows of `crash_marks.select_facts` for groups, by signature."""
    rows = connection.execute(crash_marks.select_facts(), {"signatures": signatures})
    return {row.signature: row for row in rows}


def _group(row: Any) -> CrashGroup:
    return CrashGroup(row.signature, row.client, row.title, crash_groups.parse_kind(row.kind))


def _marks(facts: Any) -> tuple[CrashMark, ...]:
    return tuple(crash_marks.marks(facts))


def _distinct(names: str | None) -> tuple[str, ...]:
    """The distinct names in a text, in their order."""
    return tuple(dict.fromkeys(names.split(_BLANK))) if names else ()


@cache
def _select_recent() -> sa.Select[Any]:
    """Select the numbers of jobs of groups (`signatures`) in the runs from `first` to `last`, parameters."""
    return sa.select(_crashes.crash_group, _crashes.run, _crashes.jobs).where(
        _crashes.crash_group.in_(sa.bindparam("signatures", expanding=True)),
        # PostgreSQL would look for each run of a list.
        _crashes.run.between(sa.bindparam("first"), sa.bindparam("last")),
    )
