"""Database failures: nothing is lost, and the grabber recovers by itself."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

import psycopg2
import pytest
import requests
import sqlalchemy as sa
from prometheus_client import REGISTRY

import db
from dqmsquare_cfg import Cluster, Settings
from simulator.documents import job_document
from simulator.fault_injection import FaultKind
from simulator.simulator import Simulator
from tests.examples import core_of
from tests.grabber_runner import (
    FILTER_UNIT,
    OTHER_FILTER_UNIT,
    count_rows,
    differences,
    grabber_process,
    machine_links,
    mirror_once,
    mirrored_runs,
    poll_pauses_s,
    rows,
    running_grabber,
    wait_for_log,
)
from tests.served import free_port
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres


class Production:
    """The production cluster's database, with superuser rights."""

    def __init__(self, postgres: EmbeddedPostgres, name: str) -> None:
        self.postgres = postgres
        self.name = name

    def execute(self, statement: str) -> None:
        """Execute a statement."""
        with closing(self.postgres.connect(self.name)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def reject_jobs(self, sqlstate: str, condition: str = "true") -> None:
        """Make every insert of a job fail with an SQLSTATE, or only those that meet a condition."""
        self.execute(
            f"""
            CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF {condition} THEN RAISE EXCEPTION 'simulated failure' USING ERRCODE = '{sqlstate}'; END IF;
                RETURN new;
            END $$;
            CREATE OR REPLACE TRIGGER fail BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION fail();
            """
        )

    def recover(self) -> None:
        """Accept jobs again."""
        self.execute("DROP TRIGGER fail ON jobs")

    def cut_connections(self) -> None:
        """Terminate all connections of grabbers."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'dqmsquare-mirror grabber%'"
        )

    @contextmanager
    def locked(self, table: str) -> Iterator[Callable[[], bool]]:
        """Lock a table; the yielded function returns whether another session waits for the lock."""
        with closing(self.postgres.connect(self.name)) as connection, connection.cursor() as cursor:
            cursor.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

            def is_awaited() -> bool:
                cursor.execute(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = %s::regclass)",
                    (table,),
                )
                return cursor.fetchone() == (True,)

            yield is_awaited


@pytest.fixture
def database(postgres: EmbeddedPostgres, databases: Mapping[Cluster, str]) -> Production:
    """The database under test."""
    return Production(postgres, databases[Cluster.PRODUCTION])


def test_it_continues_after_a_restart_of_the_database(
    simulator: Simulator, brisk_settings: Settings, postgres: EmbeddedPostgres
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    with running_grabber(brisk_settings):
        until(lambda: mirrored_runs(brisk_settings) == {1})
        postgres.stop()
        simulator.machine(FILTER_UNIT).upload(job_document(run=2))
        postgres.start()
        until(lambda: mirrored_runs(brisk_settings) == {1, 2})


def test_it_waits_for_a_database_that_has_not_started(
    simulator: Simulator,
    brisk_environment: dict[str, str],
    brisk_settings: Settings,
    postgres: EmbeddedPostgres,
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    postgres.stop()
    with grabber_process(brisk_environment, "production") as grabber:
        wait_for_log(grabber, "database_unavailable")
        postgres.start()
        until(lambda: mirrored_runs(brisk_settings) == {1})


def test_it_reports_a_failure_of_the_database_once(
    brisk_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def errors() -> float:
        return REGISTRY.get_sample_value("dqmsquare_database_errors_total", {"cluster": "production"}) or 0

    before = errors()
    with running_grabber(dataclasses.replace(brisk_settings, postgres_port=int(free_port()))):
        until(lambda: errors() >= before + 3)
    assert caplog.text.count("database_unavailable cluster=production") == 1


def test_it_loses_and_duplicates_nothing_when_its_connections_are_terminated(
    simulator: Simulator, brisk_settings: Settings, database: Production
) -> None:
    simulator.fill(FILTER_UNIT, 160, small=True)
    simulator.faults.add(FaultKind.LATENCY, 0.2)
    with running_grabber(brisk_settings):
        for count in (1, 80):
            until(lambda count=count: count_rows(brisk_settings, db.jobs) >= count)  # type: ignore[misc]
            database.cut_connections()
        simulator.faults.clear()
        until(lambda: count_rows(brisk_settings, db.jobs) == 160)
    assert differences(brisk_settings, simulator) == []


@pytest.mark.parametrize("sqlstate", core_of(["53100", "25006", "XX000"], "53100"))
def test_it_continues_once_statements_succeed_again(
    simulator: Simulator,
    brisk_environment: dict[str, str],
    brisk_settings: Settings,
    database: Production,
    sqlstate: str,
) -> None:
    """Disk full, read-only database, internal error."""
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    database.reject_jobs(sqlstate)
    port = free_port()
    given = {**brisk_environment, "GRABBER_PRODUCTION_METRICS_PORT": port}
    with grabber_process(given, "production") as grabber:
        assert "simulated failure" in wait_for_log(grabber, "database_unavailable")
        metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S).text
        assert 'dqmsquare_database_errors_total{cluster="production"}' in metrics
        assert mirrored_runs(brisk_settings) == set()
        assert "dqmfu-c2b03-.." not in mirrored_machines(brisk_settings)
        database.recover()
        until(lambda: mirrored_runs(brisk_settings) == {1})
        until(lambda: "dqmfu-c2b03-.." in mirrored_machines(brisk_settings))


def test_it_retries_at_most_once_per_interval_while_the_database_fails(
    simulator: Simulator, brisk_settings: Settings, database: Production
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    database.reject_jobs("53100")
    with running_grabber(brisk_settings):
        until(lambda: len(poll_pauses_s(simulator, FILTER_UNIT)) >= 3)
    assert min(poll_pauses_s(simulator, FILTER_UNIT)) >= brisk_settings.grabber_sleep_time_info


def mirrored_machines(settings: Settings) -> set[str]:
    """The machines that have been mirrored, as the pages see it."""
    return {machine for machine, link in machine_links(settings).items() if link.last_success_at is not None}


def test_it_mirrors_other_machines_while_the_database_rejects_one(
    simulator: Simulator, brisk_settings: Settings, database: Production
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    simulator.machine(OTHER_FILTER_UNIT).upload(job_document(run=2, host=OTHER_FILTER_UNIT))
    database.reject_jobs("53100", condition="new.run = 1")
    with running_grabber(brisk_settings):
        until(lambda: mirrored_runs(brisk_settings) == {2})
        database.recover()
        until(lambda: mirrored_runs(brisk_settings) == {1, 2})


@pytest.mark.parametrize("sqlstate", core_of(["22003", "23514", "54000"], "22003"))
def test_it_quarantines_documents_that_the_database_rejects(
    simulator: Simulator, simulated_settings: Settings, database: Production, sqlstate: str
) -> None:
    """Number out of range, violated constraint, exceeded limit."""
    for run in (1, 2, 3):
        simulator.machine(FILTER_UNIT).upload(job_document(run=run))
    database.reject_jobs(sqlstate, condition="new.run = 2")
    assert mirror_once(simulated_settings)
    assert mirrored_runs(simulated_settings) == {1, 3}
    (quarantined,) = rows(simulated_settings, db.quarantined_documents)
    assert "rejected by the database" in quarantined["reason"]
    database.recover()
    assert mirror_once(simulated_settings)
    assert differences(simulated_settings, simulator) == []


def test_it_waits_for_a_table_lock(
    simulator: Simulator, brisk_settings: Settings, database: Production
) -> None:
    with running_grabber(brisk_settings):
        until(lambda: simulator.requests)
        with database.locked("jobs") as is_awaited:
            simulator.machine(FILTER_UNIT).upload(job_document(run=1))
            until(is_awaited)
        until(lambda: mirrored_runs(brisk_settings) == {1})


@pytest.mark.long
def test_it_outlives_a_lock_that_is_held_for_longer_than_a_statement_may_take(
    simulator: Simulator,
    simulated_environment: dict[str, str],
    simulated_settings: Settings,
    database: Production,
) -> None:
    with grabber_process(simulated_environment, "production") as grabber:
        until(lambda: simulator.requests)
        with database.locked("jobs") as is_awaited:
            simulator.machine(FILTER_UNIT).upload(job_document(run=1))
            assert "timeout" in wait_for_log(grabber, "database_unavailable")
            until(is_awaited)
        until(lambda: mirrored_runs(simulated_settings) == {1})


def test_it_exits_while_the_database_hangs(
    simulator: Simulator,
    simulated_environment: dict[str, str],
    simulated_settings: Settings,
    database: Production,
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    with (
        database.locked("job_details") as is_awaited,
        grabber_process(simulated_environment, "production") as grabber,
    ):
        until(is_awaited)
        grabber.terminate()
        wait_for_log(grabber, "shutdown_timed_out")
        # The database would cancel the statement after 30 s only.
        assert grabber.wait(timeout=TIMEOUT_S) == 0
    assert mirror_once(simulated_settings)
    assert differences(simulated_settings, simulator) == []


def _find_a_bug(_database: sa.Engine) -> Iterator[int]:
    yield 1 // 0


def _take_too_long(database: sa.Engine) -> Iterator[int]:
    with database.connect() as connection:
        connection.execute(sa.text("SET LOCAL statement_timeout = 1"))
        connection.execute(sa.select(sa.func.pg_sleep(60)))
    yield 0


@pytest.mark.parametrize("step", core_of([_find_a_bug, _take_too_long], _take_too_long))
def test_it_mirrors_on_after_an_error_of_its_maintenance(
    simulator: Simulator,
    simulated_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: Callable[[sa.Engine], Iterator[int]],
) -> None:
    monkeypatch.setattr("grabbing.maintenance.analyze_outdated", step)
    with running_grabber(simulated_settings):
        until(lambda: "maintenance_failed task=analyze_logs" in caplog.text)
        simulator.machine(FILTER_UNIT).upload(job_document(run=1))
        until(lambda: mirrored_runs(simulated_settings) == {1})
    assert caplog.text.count("maintenance_failed") == 1
    assert "database_unavailable" not in caplog.text


def test_it_has_words_for_an_error_without_a_message() -> None:
    """As libpq reports that it got no file descriptor for a connection."""
    assert db.error_message(psycopg2.OperationalError()).endswith("too many files are open")
