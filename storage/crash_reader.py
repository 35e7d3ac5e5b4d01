"""Reader of groups of crashes: their runs, releases, run keys and marks."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from dqm2.field_parsers import INT4_MAX
from dqm2.records import CrashReason
from storage import client_runs, crash_groups, crash_marks, crash_queries, log_findings
from storage.client_names import client_tags
from storage.crash_groups import CrashGroup
from storage.crash_marks import CrashMark
from storage.crash_queries import CrashFilter
from storage.database_reader import DatabaseReader
from storage.read_models import Run


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
        parameters = crash_queries.parameters_of(crash_filter) | {"skip": skip, "limit": limit}
        return self._find(parameters, crash_filter.runs.last)

    def group(self, signature: str) -> FoundCrashGroups:
        """A group with all its crashes; empty if no job has this signature."""
        return self._find({"signature": signature, "skip": 0, "limit": 1}, INT4_MAX)

    def groups_of_client(self, client: str, limit: int) -> list[CrashGroupOutline]:
        """The groups of a client (by name), the last to occur first."""
        parameters = {"tags": client_tags(client), "skip": 0, "limit": limit}
        statement = crash_queries.select_totals(frozenset(parameters))
        with self._database.connect() as connection:
            found = connection.execute(statement, parameters).all()
            facts = _facts(connection, [row.signature for row in found])
        return [
            CrashGroupOutline(_group(row), row.last_run, row.runs, _marks(facts[row.signature]))
            for row in found
            if row.signature in facts
        ]

    def jobs(self, signature: str, limit: int) -> list[CrashedJob]:
        """The newest jobs of a group, newest first."""
        with self._database.connect() as connection:
            rows = connection.execute(
                crash_queries.select_crashed_jobs(), {"crash_group": signature, "limit": limit}
            )
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
        return self._occurrences(crash_queries.select_occurrences_in_run(), {"run": run, "last": run})

    def occurrences(self, signatures: tuple[str, ...], last: int) -> dict[str, CrashOccurrences]:
        """Occurrences of groups up to a run, by signature."""
        return self._occurrences(crash_queries.select_occurrences_of(signatures), {"last": last})

    def _find(self, parameters: Mapping[str, Any], last: int) -> FoundCrashGroups:
        statement = crash_queries.select_described(frozenset(parameters))
        with self._database.connect() as connection:
            recent_runs = _recent_runs(connection, last)
            found = connection.execute(statement, parameters).all()
            groups = tuple(_summaries(connection, found, recent_runs))
        return FoundCrashGroups(groups, found[0].group_count if found else 0, recent_runs)

    def _occurrences(
        self, statement: sa.Select[Any], parameters: Mapping[str, int]
    ) -> dict[str, CrashOccurrences]:
        with self._database.connect() as connection:
            rows = connection.execute(statement, parameters).all()
        return {
            row.crash_group: CrashOccurrences(row.title, row.since, row.cmssw_version, row.runs)
            for row in rows
        }


def _recent_runs(connection: sa.Connection, last: int) -> tuple[int, ...]:
    """The newest runs up to `last`, ascending."""
    return tuple(reversed(connection.scalars(crash_queries.select_recent_runs(), {"last": last}).all()))


def _summaries(
    connection: sa.Connection, found: Collection[Any], recent_runs: Sequence[int]
) -> Iterator[CrashGroupSummary]:
    """The groups of the rows of `crash_queries.select_described` that still exist."""
    signatures = [row.signature for row in found]
    if not signatures:
        return
    facts = _facts(connection, signatures)
    recent: dict[str, dict[int, int]] = {}
    first, last = (recent_runs[0], recent_runs[-1]) if recent_runs else (0, 0)
    in_recent = {"signatures": signatures, "first": first, "last": last}
    for row in connection.execute(crash_queries.select_jobs_by_run(), in_recent):
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
            releases=crash_queries.distinct_names(row.releases),
            run_keys=crash_queries.distinct_names(row.run_keys),
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
