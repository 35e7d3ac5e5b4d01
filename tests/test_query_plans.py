"""Queries stay cheap however many runs there are: none reads a growing table sequentially."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

import db
from benchmarks.large_database import Size, Span, fill
from dqm2 import log_templates
from dqm2.records import CrashKind
from dqmsquare_cfg import Cluster, Settings
from storage import machines
from storage.crash_queries import CrashFilter
from storage.crash_reader import FoundCrashGroups
from storage.delivery_backfill import summarize_outdated
from storage.efficiency_reader import Grouping
from storage.job_state import StateRules
from storage.log_backfill import analyze_outdated
from storage.log_dictionaries import DictionaryStore
from storage.log_search import FoundLogs
from storage.prepared_statements import is_prepared, prepare
from storage.reader import MirrorReader
from storage.retention import prune
from storage.run_queries import RunFilter
from storage.transitions import delete_old
from storage.writer import MirrorWriter

# At most a row per machine, client, field, kind of crash, release or database, or per client and thousand
# runs: a sequential scan is the cheapest plan.
SMALL = {
    "machines",
    "mutes",
    "heartbeat",
    "crash_groups",
    "client_runs",
    "releases",
    "conditions",
    "machine_memory",
    "machine_disks",
    "log_dictionaries",
    "dropped_fields",
    "pg_database",
}
SOME_YEARS = Size(runs=900, runs_with_details=90, states=10_000, samples=15)


@dataclass(frozen=True)
class Filled:
    """A database of several years, with a run and a job within the range that has details."""

    database: sa.Engine
    reader: MirrorReader
    span: Span

    @property
    def run(self) -> int:
        """A run."""
        return self.span.last_run - 100

    @property
    def job(self) -> UUID:
        """A job of that run."""
        with self.database.connect() as connection:
            of_run = connection.scalars(sa.select(db.jobs.c.identity).where(db.jobs.c.run == self.run))
            job: UUID = of_run.all()[0]
        return job

    @property
    def crash_group(self) -> str:
        """The group that was the last to occur."""
        return self.crash_groups().groups[0].group.signature

    def crash_groups(self, *, kinds: tuple[CrashKind, ...] | None = None, **given: Any) -> FoundCrashGroups:
        """The groups of crashes in all runs that match a filter."""
        run_filter = RunFilter(0, self.span.last_run, **given)
        return self.reader.crashes.find_groups(CrashFilter(run_filter, kinds), skip=0, limit=50)

    def search(self, text: str, *, first: int = 0, **given: Any) -> FoundLogs:
        """The newest logs that have a line, of all runs from the first on that match a filter."""
        query = log_templates.parse_query(text, with_numbers=True)
        assert query is not None
        found = self.reader.logs.search(
            query, RunFilter(first, self.span.last_run, **given), skip=0, limit=20
        )
        assert found.logs
        return found

    def newest_states(self) -> object:
        """The states that a grabber compares the cluster's status with."""
        with self.database.connect() as connection:
            return connection.execute(machines.select_latest_states()).all()

    def run_filter(self, **given: Any) -> RunFilter:
        """A filter of a part of the runs, like that of the timeline."""
        return RunFilter(self.span.last_run - 200, self.span.last_run, **given)

    def day(self, ago: int) -> tuple[datetime, datetime]:
        """The beginning and the end of a day."""
        since = datetime.now(UTC) - timedelta(days=ago)
        return since, since + timedelta(days=1)

    def days(self, ago: int) -> RunFilter:
        """A filter of the runs of a day."""
        since, until = self.day(ago)
        span = self.reader.runs.span_between(since, until)
        return RunFilter(span.lowest or 0, span.highest or 0, since=since, until=until)


QUERIES: Mapping[str, Callable[[Filled], object]] = {
    "run_span": lambda filled: filled.reader.runs.span(),
    "adjacent_runs": lambda filled: filled.reader.runs.adjacent(filled.run),
    "has_run": lambda filled: filled.reader.runs.has(filled.run),
    "run": lambda filled: filled.reader.runs.get(filled.run),
    "a piece of runs": lambda filled: next(
        filled.reader.run_listing.iter_range(filled.span.first_run, filled.span.last_run)
    ),
    "runs of a range": lambda filled: filled.reader.run_listing.read_range(
        filled.span.last_run - 20, filled.span.last_run
    ),
    "find_runs": lambda filled: filled.reader.runs.find(filled.run_filter(), below=None, limit=40),
    "find_runs further": lambda filled: filled.reader.runs.find(
        filled.run_filter(), below=filled.run, limit=150
    ),
    "run_summaries": lambda filled: filled.reader.run_summaries.find(
        filled.run_filter(), below=None, limit=40
    ),
    "run_summaries further": lambda filled: filled.reader.run_summaries.find(
        filled.run_filter(), below=filled.run, limit=150
    ),
    "run_figures": lambda filled: filled.reader.run_figures.find(filled.run_filter(), below=None, limit=25),
    "find_runs crashed": lambda filled: filled.reader.runs.find(
        filled.run_filter(crashed_only=True, with_lumisections=True), below=None, limit=40
    ),
    "find_runs of a client": lambda filled: filled.reader.runs.find(
        filled.run_filter(clients=("beam",), crashed_only=True), below=None, limit=40
    ),
    "found_span of a client": lambda filled: filled.reader.runs.found_span(
        filled.run_filter(clients=("beam",))
    ),
    "found_span": lambda filled: filled.reader.runs.found_span(filled.run_filter()),
    "found_span of a run key and a release": lambda filled: filled.reader.runs.found_span(
        RunFilter(0, filled.span.last_run, run_keys=("hi_run",), cmssw_versions=("14_0_3_39001",))
    ),
    "run_summaries of all runs": lambda filled: filled.reader.run_summaries.find(
        RunFilter(1, filled.span.last_run), below=None, limit=20
    ),
    "run_summaries of a release": lambda filled: filled.reader.run_summaries.find(
        RunFilter(0, filled.span.last_run, cmssw_versions=("14_0_3_39001",)), below=None, limit=40
    ),
    "run_summaries of a day": lambda filled: filled.reader.run_summaries.find(
        filled.days(1000), below=None, limit=40
    ),
    "found_span of a day": lambda filled: filled.reader.runs.found_span(filled.days(1000)),
    "run_span_between": lambda filled: filled.reader.runs.span_between(
        datetime.now(UTC) - timedelta(days=900), datetime.now(UTC) - timedelta(days=800)
    ),
    "run_keys": lambda filled: filled.reader.runs.run_keys(),
    "cmssw_versions": lambda filled: filled.reader.runs.cmssw_versions(),
    "clients of all runs": lambda filled: filled.reader.runs.clients(0, filled.span.last_run),
    "clients": lambda filled: filled.reader.runs.clients(filled.span.last_run - 100, filled.span.last_run),
    "expected_clients": lambda filled: filled.reader.runs.expected_clients(filled.run, "pp_run"),
    "expected_clients of a rare run key": lambda filled: filled.reader.runs.expected_clients(
        filled.run, "no_run"
    ),
    "expected_clients_of": lambda filled: filled.reader.runs.expected_clients_of(
        filled.reader.runs.find(RunFilter(1, filled.span.last_run), below=None, limit=150)
    ),
    "skipped_lumisections": lambda filled: filled.reader.runs.skipped_lumisections(filled.run, ("beam",)),
    "usual_errors": lambda filled: filled.reader.jobs.usual_errors(
        filled.run, "pp_run", "csc_dqm_sourceclient-live"
    ),
    "usual_errors of an unknown client": lambda filled: filled.reader.jobs.usual_errors(
        filled.run, "pp_run", "no_client"
    ),
    "job_details": lambda filled: filled.reader.jobs.details(filled.job),
    "job_log": lambda filled: filled.reader.jobs.log(filled.job),
    "client_history": lambda filled: filled.reader.jobs.client_history(
        filled.run, "beam_dqm_sourceclient-live", 12
    ),
    "client_history of an unknown client": lambda filled: filled.reader.jobs.client_history(
        filled.run, "no_client", 12
    ),
    "previous_job": lambda filled: filled.reader.jobs.previous(
        filled.span.last_run, "pp_run", "beam_dqm_sourceclient-live"
    ),
    "find_crash_groups": lambda filled: filled.crash_groups(),
    "find_crash_groups of a client, a kind and a release": lambda filled: filled.crash_groups(
        kinds=(CrashKind.EXCEPTION,), clients=("csc",), cmssw_versions=("14_0_3_39001",), run_keys=("pp_run",)
    ),
    "find_crash_groups of a period": lambda filled: filled.crash_groups(
        since=datetime.now(UTC) - timedelta(days=900), until=datetime.now(UTC) - timedelta(days=800)
    ),
    "crash_group": lambda filled: filled.reader.crashes.group(filled.crash_group),
    "crash_groups_of_client": lambda filled: filled.reader.crashes.groups_of_client("csc", 11),
    "crashed_jobs": lambda filled: filled.reader.crashes.jobs(filled.crash_group, 200),
    "client_run_count": lambda filled: filled.reader.crashes.client_run_count(
        "csc_dqm_sourceclient-live", filled.run
    ),
    "search_logs of a rare line": lambda filled: filled.search("ProductNotFound"),
    "search_logs of a common line": lambda filled: filled.search("opened file"),
    "search_logs of a client in a day": lambda filled: filled.search(
        "file", clients=("csc",), since=datetime.now(UTC) - timedelta(days=60)
    ),
    "search_logs of a client in few runs": lambda filled: filled.search(
        "exception", clients=("csc",), first=filled.span.last_run - 500
    ),
    "crash_occurrences": lambda filled: filled.reader.crashes.occurrences_in(filled.run),
    "crash_occurrences_of": lambda filled: filled.reader.crashes.occurrences(
        (filled.crash_group,), filled.run
    ),
    "runs_in_period": lambda filled: filled.reader.shifts.runs(*filled.day(1000), 100),
    "data_path_problems": lambda filled: filled.reader.shifts.data_path_problems(*filled.day(1)),
    "transitions_known_since": lambda filled: filled.reader.shifts.transitions_known_since(),
    "stuck_clients": lambda filled: filled.reader.shifts.stuck_clients(*filled.day(1)),
    "efficiency_range": lambda filled: filled.reader.efficiency.counted_runs(filled.run_filter()),
    "efficiency_range of a day": lambda filled: filled.reader.efficiency.counted_runs(filled.days(1000)),
    "efficiency by month": lambda filled: filled.reader.efficiency.of_clients(
        filled.run_filter(), Grouping.MONTH
    ),
    "efficiency by release": lambda filled: filled.reader.efficiency.of_clients(
        filled.run_filter(), Grouping.RELEASE
    ),
    "efficiency of a run key": lambda filled: filled.reader.efficiency.of_clients(
        filled.run_filter(run_keys=("pp_run",), clients=("csc",)), Grouping.KEY
    ),
    "reference_run": lambda filled: filled.reader.playback_comparison.reference_run(filled.run),
    "client_performance": lambda filled: filled.reader.playback_comparison.client_performance(filled.run),
    "mutes_between": lambda filled: filled.reader.mutes.between(*filled.day(1), 200),
    "control_changes": lambda filled: filled.reader.shifts.control_changes(Cluster.PLAYBACK, *filled.day(1)),
    "state_changes_between": lambda filled: filled.reader.cluster.state_changes_between(*filled.day(1000)),
    "delivery": lambda filled: filled.reader.deliveries.get(filled.run),
    "delivery_statistics": lambda filled: filled.reader.deliveries.statistics(
        range(filled.run - 25, filled.run)
    ),
    "delivery_updated_at": lambda filled: filled.reader.deliveries.updated_at(filled.run),
    "playback": lambda filled: filled.reader.deliveries.playback(filled.run),
    "cluster_status": lambda filled: filled.reader.cluster.machine_statuses(),
    "state_changes": lambda filled: filled.reader.cluster.state_changes(
        datetime.now(UTC) - timedelta(days=1)
    ),
    "machines": lambda filled: filled.reader.cluster.machines(),
    "dropped_fields": lambda filled: filled.reader.cluster.dropped_fields(),
    "sync_status": lambda filled: filled.reader.cluster.sync_status(),
    # Queries of a grabber.
    "stored_versions": lambda filled: MirrorWriter(filled.database, uuid4()).stored_versions([filled.job]),
    "machines.select_latest_states": lambda filled: filled.newest_states(),
    "a batch of prune": lambda filled: next(prune(filled.database, timedelta(days=1))),
    "a batch of delete_old": lambda filled: next(delete_old(filled.database)),
    "analyze_outdated": lambda filled: next(analyze_outdated(filled.database), 0),
    "summarize_outdated": lambda filled: next(summarize_outdated(filled.database), 0),
    "train": lambda filled: DictionaryStore(filled.database).train(),
}


def test_it_reads_no_growing_table_sequentially(settings: Settings) -> None:
    span = fill(settings, SOME_YEARS)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    _add_log_templates(database, 20_000)
    rules = StateRules.for_cluster(settings, Cluster.PRODUCTION)
    filled = Filled(database, MirrorReader(database, rules, DictionaryStore(database)), span)
    scanned = {name: _scanned_tables(filled, query) for name, query in QUERIES.items()}
    database.dispose()
    assert {name: tables for name, tables in scanned.items() if tables} == {}


def _add_log_templates(database: sa.Engine, count: int) -> None:
    """Templates of other lines than the generated logs have, as years of releases leave them."""
    with database.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO log_templates (id, words) "
                "SELECT -number, ARRAY['word' || number, 'of', 'template' || number % 100] "
                "FROM generate_series(1, :count) AS number"
            ),
            {"count": count},
        )
        connection.execute(sa.text("ANALYZE log_templates"))


def _scanned_tables(filled: Filled, query: Callable[[Filled], object]) -> set[str]:
    """The growing tables that a query scans sequentially."""
    with _recorded_statements(filled.database) as statements:
        query(filled)
    assert statements
    plans: list[Mapping[str, Any]] = []
    with filled.database.connect() as connection:
        # A prepared statement has one plan for all values of its parameters, at the latest when it has been
        # executed some times.
        connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
        connection.exec_driver_sql("DEALLOCATE ALL")
        for statement, parameters, has_one_plan in statements:
            if has_one_plan:
                cursor: Any = connection.connection.cursor()
                execution = prepare(cursor, statement, f"statement_{len(plans)}")
                plans.append(_plan(connection, execution, parameters))
            elif statement.startswith("SELECT set_config("):
                connection.exec_driver_sql(statement, parameters)
            # A lock has no plan.
            elif not statement.startswith("LOCK"):
                plans.append(_plan(connection, statement, parameters))
    nodes = [node for plan in plans for node in _nodes(plan)]
    return {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"} - SMALL


@contextmanager
def _recorded_statements(database: sa.Engine) -> Iterator[list[tuple[str, Any, bool]]]:
    """The statements that are executed within, with their parameters, and whether they are prepared."""
    statements: list[tuple[str, Any, bool]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, _: Any) -> None:
        statements.append((statement, parameters, is_prepared(context)))

    sa.event.listen(database, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        sa.event.remove(database, "before_cursor_execute", record)


def _plan(connection: sa.Connection, statement: str, parameters: Any) -> Mapping[str, Any]:
    explained = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
    plan: Mapping[str, Any] = explained.scalar_one()[0]["Plan"]
    return plan


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
