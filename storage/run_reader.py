"""Reader of runs: which exist, and their jobs with computed states."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from operator import attrgetter
from statistics import median_low
from sys import intern
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

import db
from dqm2.records import InputStatuses
from storage import client_runs, job_state, log_findings, run_queries
from storage.client_names import client_name
from storage.database_reader import DatabaseReader
from storage.job_state import JobState, StateRules
from storage.prepared_statements import prepared
from storage.read_models import (
    AdjacentRuns,
    ExpectedClients,
    FoundSpan,
    Job,
    Run,
    RunSpan,
)
from storage.run_queries import RUN, RUN_KEY, RunFilter
from storage.stored_series import unpack_input_statuses

# Runs read at a time when many are wanted; larger pieces grow the process's memory permanently.
_RUNS_PER_PIECE = 25
# Number of previous runs whose median is the usual startup time: an outlier among them does not matter.
_STARTUP_RUNS = 3
# Number of the run of a job whose command line names none.
_NO_RUN = 0
_WIDE_QUERY_TIMEOUT_S = 10
# A script may ask for all runs while the database is busy; others wait in the queue of ranges meanwhile.
_RANGE_QUERY_TIMEOUT_S = 30


class _JobRow(NamedTuple):
    """A job as lists show it, and the inputs of its state."""

    identity: UUID
    run: int
    client: str
    started_at: datetime
    updated_at: datetime
    exit_code: int | None
    cmssw_run: int | None
    lumisection: int | None
    lumisection_at: datetime | None
    lumisections_skipped: int
    events_total: int | None
    events_rate: float | None
    fi_state: int | None
    rss_kb: int | None
    crash: Mapping[str, Any] | None
    crash_group: str | None
    machine: str
    machine_is_mirrored: bool
    machine_clock_at: datetime | None
    machine_newest_run: int | None


_RowT = TypeVar("_RowT", bound=NamedTuple)


def _select_names(names: sa.ColumnElement[str]) -> sa.Select[Any]:
    """Select names as one text; hundreds of rows take longer.

    Names have no blanks (`dqm2/field_parsers.py`).
    """
    return prepared(sa.select(sa.func.string_agg(names, sa.literal_column("' '"))))


@cache
def select_jobs(row: type[NamedTuple], rules: StateRules) -> sa.Select[Any]:
    """Select the fields of a row, of all jobs."""
    return sa.select(*_columns(row, rules)).join_from(db.jobs, db.machines)


def _columns(row: type[NamedTuple], rules: StateRules) -> list[sa.ColumnElement[Any]]:
    """The fields of a row of a job and its machine."""
    machines = db.machines.c
    derived: Mapping[str, sa.ColumnElement[Any]] = {
        "id": sa.cast(db.jobs.c.identity, sa.Text),
        "machine": machines.label,
        # One parameter: SQLAlchemy would write the list of `IN` into the statement at each execution.
        "machine_is_mirrored": machines.identity == sa.any_(sa.literal([*rules.machines], ARRAY(sa.Uuid))),
        "machine_clock_at": machines.clock_at,
        "machine_newest_run": machines.newest_run,
    }
    return [derived[field] if field in derived else db.jobs.c[field] for field in row._fields]


def _global_start(run: sa.ColumnElement[int]) -> sa.Label[Any]:
    """The start of a run by the newest report of its file delivery that has one."""
    deliveries = db.deliveries.c
    return (
        sa.select(deliveries.global_start)
        .where(deliveries.run == run, deliveries.global_start.is_not(None))
        .order_by(*run_queries.newest_report_first(deliveries))
        .limit(1)
        .correlate(db.runs)
        .scalar_subquery()
        .label("global_start")
    )


@cache
def _select_run(rules: StateRules) -> sa.Select[Any]:
    """Select a row for each job of `run`, a parameter, with the columns of the run behind those of the job.

    A run without jobs has one row, and so has one that is not mirrored.
    """
    asked = sa.select(sa.cast(RUN, sa.Integer).label("run")).subquery()
    found = asked.outerjoin(db.runs, db.runs.c.run == asked.c.run).outerjoin(
        sa.join(db.jobs, db.machines), db.jobs.c.run == asked.c.run
    )
    runs = db.runs.c
    of_run = (runs.run.label("described_run"), runs.run_key, runs.cmssw_version, _global_start(RUN))
    return prepared(sa.select(*_columns(_JobRow, rules), *of_run).select_from(found))


def fetch_jobs(connection: sa.Connection, statement: sa.Select[Any], row: type[_RowT]) -> list[_RowT]:
    """Fetch the rows of a statement of `select_jobs`.

    Named tuples are accessed by position. Access to SQLAlchemy's rows by name would take as long as all other
    work on the thousands of fields of a page.
    """
    return [row._make(found) for found in connection.execute(statement).all()]


_GLOBAL_START = _global_start(db.runs.c.run)
_RUNS = sa.select(db.runs, _GLOBAL_START)
# The columns of summaries of runs, without the number of the run.
_RUN_COLUMNS = (db.runs.c.run_key, db.runs.c.cmssw_version, _GLOBAL_START)

_jobs = db.jobs.c
_RUN_SPAN = prepared(sa.select(sa.func.min(_jobs.run), sa.func.max(_jobs.run)).where(_jobs.run > _NO_RUN))
_ADJACENT_RUNS = prepared(
    sa.select(
        sa.select(sa.func.max(_jobs.run)).where(_jobs.run < RUN, _jobs.run > _NO_RUN).scalar_subquery(),
        sa.select(sa.func.min(_jobs.run)).where(_jobs.run > RUN).scalar_subquery(),
    )
)
_HAS_RUN = prepared(sa.select(sa.exists().where(db.runs.c.run == RUN)))
# The earliest start; those that are unknown are left out.
FIRST_START = sa.func.min(_jobs.started_at).filter(_jobs.started_at < _jobs.updated_at)
_STARTS = (
    sa.select(_jobs.run, _jobs.client, FIRST_START.label("started_at"))
    .group_by(_jobs.run, _jobs.client)
    .order_by(_jobs.run.desc())
)
_EXPECTED_CLIENTS = prepared(
    _STARTS.where(_jobs.run.in_(run_queries.select_runs_with_key(RUN_KEY, before=RUN, limit=_STARTUP_RUNS)))
)
_RUN_KEYS = _select_names(run_queries.select_distinct_values(db.runs.c.run_key).subquery().c.value)
_RELEASES = _select_names(db.releases.c.cmssw_version)


def select_newest_with_jobs(
    run_filter: RunFilter, *of_jobs: sa.ColumnElement[Any], below: int | None, limit: int
) -> sa.Select[Any]:
    """Select the newest runs that match a filter, newest first, of those `below` a run.

    With what describes each run, and with aggregates of all its jobs.
    """
    newest = run_queries.select_newest_runs(run_filter, below=below, limit=limit)
    runs = newest.add_columns(*_RUN_COLUMNS).subquery()
    aggregated = sa.select(*of_jobs).where(_jobs.run == runs.c.run).lateral()
    return sa.select(runs, aggregated).join_from(runs, aggregated, sa.true()).order_by(runs.c.run.desc())


class RunReader(DatabaseReader):
    """Reads a cluster's runs; the states of their jobs follow from `rules`."""

    def __init__(self, database: sa.Engine, rules: StateRules) -> None:
        super().__init__(database)
        self._rules = rules

    def span(self) -> RunSpan:
        """The lowest and the highest run that has jobs."""
        with self._database.connect() as connection:
            lowest, highest = connection.execute(_RUN_SPAN).one()
        return RunSpan(lowest, highest)

    def span_between(self, since: datetime | None, until: datetime | None) -> RunSpan:
        """The lowest and the highest run that may have a job which ran between two times."""
        # The index has all jobs of the time between, which may be years.
        options = {"response_timeout_s": _WIDE_QUERY_TIMEOUT_S}
        with self._database.connect() as connection:
            statement = run_queries.select_span_between(since, until)
            lowest, highest = connection.execute(statement, execution_options=options).one()
        return RunSpan(lowest, highest)

    def adjacent(self, run: int) -> AdjacentRuns:
        """The runs with jobs before and after `run`, which itself need not exist."""
        with self._database.connect() as connection:
            previous, following = connection.execute(_ADJACENT_RUNS, {"run": run}).one()
        return AdjacentRuns(previous, following)

    def has(self, run: int) -> bool:
        """Whether anything of a run is mirrored."""
        with self._database.connect() as connection:
            return bool(connection.scalar(_HAS_RUN, {"run": run}))

    def get(self, run: int) -> Run | None:
        """A run with its jobs; `None` if nothing of it is mirrored."""
        with self._database.connect() as connection:
            return read_run(connection, run, self._rules)

    def find(self, run_filter: RunFilter, *, below: int | None, limit: int) -> list[Run]:
        """The newest runs that match a filter, newest first, of those `below` a run."""
        newest = run_queries.select_newest_runs(run_filter, below=below, limit=limit)
        with self._database.connect() as connection:
            numbers = connection.scalars(newest).all()
        return self.read_all(numbers)[::-1]

    def iter_found(self, run_filter: RunFilter) -> Iterator[Run]:
        """All runs that match a filter, newest first, read in pieces."""
        below = run_filter.last + 1
        while runs := self.find(run_filter, below=below, limit=_RUNS_PER_PIECE):
            yield from runs
            below = runs[-1].run

    def found_span(self, run_filter: RunFilter) -> FoundSpan:
        """The number of runs that match a filter, and the lowest and the highest of them."""
        with self._database.connect() as connection:
            if run_filter.has_clients_only:
                first = max(run_filter.first, _NO_RUN + 1)
                return client_runs.find_span(
                    connection, run_filter.client_tags, first=first, last=run_filter.last
                )
            number = run_queries.select_runs(run_filter).subquery().c.run
            count, lowest, highest = connection.execute(
                sa.select(sa.func.count(), sa.func.min(number), sa.func.max(number))
            ).one()
        return FoundSpan(count, lowest, highest)

    def clients(self, first: int, last: int) -> list[str]:
        """The names of the clients of the runs from `first` to `last`, sorted."""
        options = {"response_timeout_s": _RANGE_QUERY_TIMEOUT_S}
        with self._database.connect() as connection:
            parameters = {"first": first, "last": last}
            tags = connection.scalars(run_queries.select_clients(), parameters, execution_options=options)
            return sorted(map(client_name, tags))

    def run_keys(self) -> list[str]:
        """All run keys, sorted."""
        return self._names(_RUN_KEYS)

    def cmssw_versions(self) -> list[str]:
        """All CMSSW versions, sorted."""
        return self._names(_RELEASES)

    def expected_clients(self, run: int, run_key: str) -> ExpectedClients:
        """As `read_expected_clients`."""
        with self._database.connect() as connection:
            return read_expected_clients(connection, run, run_key)

    def expected_clients_of(self, runs: Sequence[Run]) -> dict[int, ExpectedClients]:
        """As `expected_clients` of each of the runs that has a run key, by run; by two queries for all."""
        run_keys = [(run.run, run.run_key) for run in runs if run.run_key is not None]
        if not run_keys:
            return {}
        columns = sa.column("run", sa.Integer), sa.column("run_key", sa.Text)
        wanted = sa.values(*columns, name="wanted").data(run_keys)
        run, run_key = wanted.c
        earlier = run_queries.select_runs_with_key(run_key, before=run, limit=_STARTUP_RUNS).lateral()
        pairs = sa.select(run, earlier.c.run).join_from(wanted, earlier, sa.true())
        with self._database.connect() as connection:
            found = set(map(tuple, connection.execute(pairs)))
            starts = connection.execute(_STARTS.where(_jobs.run.in_({number for _, number in found}))).all()
        by_run = [(number, list(of_run)) for number, of_run in groupby(starts, attrgetter("run"))]
        return {
            later: _expected([of_run for number, of_run in by_run if (later, number) in found])
            for later, _ in run_keys
        }

    def skipped_lumisections(self, run: int, clients: Collection[str]) -> dict[str, int]:
        """The number of lumisections of a run that no job of a client saw, by the client's tag.

        A restarted job skips what its predecessor has seen. Clients without stored job details, and with
        damaged ones, are left out.
        """
        jobs = db.jobs.c
        statement = (
            sa.select(jobs.client, db.job_details.c.identity, db.job_details.c.input_statuses)
            .join(db.job_details, db.job_details.c.identity == jobs.identity)
            .where(jobs.run == run, jobs.client.in_(clients))
            .order_by(jobs.client)
        )
        with self._database.connect() as connection:
            rows = connection.execute(statement).all()
        statuses = {
            client: [unpack_input_statuses(row) for row in of_client]
            for client, of_client in groupby(rows, attrgetter("client"))
        }
        return {
            client: count_skipped(read for read in of_client if read is not None)
            for client, of_client in statuses.items()
            if None not in of_client
        }

    def read_all(self, numbers: Collection[int], *of_job: sa.ColumnElement[bool]) -> list[Run]:
        """The runs with these numbers that have jobs, ascending; `of_job`: conditions on their jobs."""
        selected = select_jobs(_JobRow, self._rules).where(_jobs.run.in_(numbers), *of_job)
        with self._database.connect() as connection:
            metadata = connection.execute(_RUNS.where(db.runs.c.run.in_(numbers))).all()
            rows = fetch_jobs(connection, selected.order_by(_jobs.run), _JobRow)
        by_run = {row.run: row for row in metadata}
        return [
            _run(run, by_run.get(run), list(of_run), self._rules)
            for run, of_run in groupby(rows, attrgetter("run"))
        ]

    def _names(self, statement: sa.Select[Any]) -> list[str]:
        with self._database.connect() as connection:
            names = connection.scalar(statement)
        return sorted(names.split()) if names else []


def read_run(connection: sa.Connection, run: int, rules: StateRules) -> Run | None:
    """A run with its jobs; `None` if nothing of it is mirrored."""
    found = connection.execute(_select_run(rules), {"run": run}).all()
    fields = len(_JobRow._fields)
    rows = [_JobRow._make(row[:fields]) for row in found if row.identity is not None]
    [of_run, *_] = found
    if of_run.described_run is None and not rows:
        return None
    return _run(run, of_run, rows, rules)


def read_expected_clients(connection: sa.Connection, run: int, run_key: str) -> ExpectedClients:
    """The clients of the previous run with the same run key, and the usual startup time of such runs.

    Clients whose start is unknown do not count for the startup time.
    """
    rows = connection.execute(_EXPECTED_CLIENTS, {"run": run, "run_key": run_key}).all()
    return _expected([list(of_run) for _, of_run in groupby(rows, attrgetter("run"))])


def _expected(by_run: Sequence[Sequence[Any]]) -> ExpectedClients:
    """The expected clients of a run by the starts of clients in earlier ones, newest first."""
    if not by_run:
        return ExpectedClients()
    starts = [[row.started_at for row in of_run if row.started_at is not None] for of_run in by_run]
    startups = [max(of_run) - min(of_run) for of_run in starts if of_run]
    return ExpectedClients(
        frozenset(row.client for row in by_run[0]), median_low(startups) if startups else None
    )


def _run(run: int, metadata: Any, rows: Sequence[_JobRow], rules: StateRules) -> Run:
    newest = max((row.lumisection for row in rows if row.lumisection is not None), default=0)
    now = datetime.now(UTC)
    states = job_state.job_states(rows, rules.stuck_after, now)
    jobs = [_job(row, state, newest) for row, state in zip(rows, states, strict=True)]
    return Run(
        run=run,
        run_key=None if metadata is None else metadata.run_key,
        cmssw_version=None if metadata is None else metadata.cmssw_version,
        global_start=None if metadata is None else metadata.global_start,
        is_ongoing=job_state.is_ongoing(rows, rules.stuck_after, now),
        jobs=tuple(sorted(jobs, key=attrgetter("name", "first_seen_at", "id"))),
    )


def count_skipped(jobs: Iterable[InputStatuses]) -> int:
    """The number of lumisections that some of the jobs skipped and none saw."""
    skipped, seen = set[int](), set[int]()
    for job in jobs:
        for lumisection, status in zip(job.lumisections, job.statuses, strict=True):
            (skipped if status.is_skipped else seen).add(lumisection)
    return len(skipped - seen)


def _job(row: _JobRow, state: JobState, newest_lumisection: int) -> Job:
    return Job(
        id=row.identity,
        run=row.run,
        # Interned because cached runs repeat the same few names.
        client=intern(row.client),
        machine=intern(row.machine),
        state=state,
        exit_code=row.exit_code,
        first_seen_at=row.started_at,
        updated_at=row.updated_at,
        cmssw_run=row.cmssw_run,
        lumisection=row.lumisection,
        lumisections_skipped=row.lumisections_skipped,
        lag=newest_lumisection - (row.lumisection or 0),
        events_total=row.events_total,
        events_rate=row.events_rate,
        fi_state=row.fi_state,
        rss_kb=row.rss_kb,
        crash=log_findings.read_crash(row.crash),
        crash_group=row.crash_group,
    )
