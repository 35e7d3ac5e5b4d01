"""Trouble with the database: nothing is lost, the state is told, and it passes by itself."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

import pytest
import requests

import db
from dqmsquare_cfg import Cluster, Settings
from simulator.documents import job_document
from simulator.fault_injection import FaultKind
from simulator.simulator import Simulator
from tests.grabber_runner import (
    FILTER_UNIT,
    OTHER_FILTER_UNIT,
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
    """The production cluster's database, as somebody with every right meets it."""

    def __init__(self, postgres: EmbeddedPostgres, name: str) -> None:
        self.postgres = postgres
        self.name = name

    def execute(self, statement: str) -> None:
        """Executes a statement."""
        with closing(self.postgres.connect(self.name)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def fail_at_jobs(self, sqlstate: str, of: str = "true") -> None:
        """Lets every write of a job fail with a state, or of those jobs only that a condition is true of."""
        self.execute(
            f"""
            CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF {of} THEN RAISE EXCEPTION 'as it was told to' USING ERRCODE = '{sqlstate}'; END IF;
                RETURN new;
            END $$;
            CREATE OR REPLACE TRIGGER fail BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION fail();
            """
        )

    def recover(self) -> None:
        """Lets jobs be written again."""
        self.execute("DROP TRIGGER fail ON jobs")

    def cut_connections(self) -> None:
        """Ends every connection of the grabbers."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'dqmsquare-mirror grabber%'"
        )

    @contextmanager
    def locked(self, table: str) -> Iterator[Callable[[], bool]]:
        """Holds a table for itself alone; what is yielded tells whether somebody waits for it."""
        with closing(self.postgres.connect(self.name)) as connection, connection.cursor() as cursor:
            cursor.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

            def is_waited_for() -> bool:
                cursor.execute(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = %s::regclass)",
                    (table,),
                )
                return cursor.fetchone() == (True,)

            yield is_waited_for


@pytest.fixture
def database(postgres: EmbeddedPostgres, databases: Mapping[Cluster, str]) -> Production:
    """The database under test."""
    return Production(postgres, databases[Cluster.PRODUCTION])


def test_it_goes_on_after_the_database_was_stopped(
    simulator: Simulator, brisk_settings: Settings, postgres: EmbeddedPostgres
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    with running_grabber(brisk_settings):
        until(lambda: mirrored_runs(brisk_settings) == {1})
        postgres.stop()
        simulator.machine(FILTER_UNIT).upload(job_document(run=2))
        postgres.start()
        until(lambda: mirrored_runs(brisk_settings) == {1, 2})


def test_it_waits_for_a_database_that_is_not_there_yet(
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


def test_it_loses_and_repeats_nothing_when_its_connections_are_cut(
    simulator: Simulator, brisk_settings: Settings, database: Production
) -> None:
    simulator.fill(FILTER_UNIT, 900, small=True)
    simulator.faults.add(FaultKind.LATENCY, 0.2)
    with running_grabber(brisk_settings):
        for count in (1, 400):
            until(lambda count=count: len(rows(brisk_settings, db.jobs)) >= count)  # type: ignore[misc]
            database.cut_connections()
        simulator.faults.clear()
        until(lambda: len(rows(brisk_settings, db.jobs)) == 900)
    assert differences(brisk_settings, simulator) == []


@pytest.mark.parametrize("sqlstate", ["53100", "25006", "XX000"])
def test_it_goes_on_once_statements_no_longer_fail(
    simulator: Simulator,
    brisk_environment: dict[str, str],
    brisk_settings: Settings,
    database: Production,
    sqlstate: str,
) -> None:
    """A disk that is full, a database that is read-only, trouble inside."""
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    database.fail_at_jobs(sqlstate)
    port = free_port()
    given = {**brisk_environment, "GRABBER_PRODUCTION_METRICS_PORT": port}
    with grabber_process(given, "production") as grabber:
        assert "as it was told to" in wait_for_log(grabber, "database_unavailable")
        metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S).text
        assert 'dqmsquare_database_errors_total{cluster="production"}' in metrics
        assert mirrored_runs(brisk_settings) == set()
        assert "dqmfu-c2b03-.." not in worked(brisk_settings)
        database.recover()
        until(lambda: mirrored_runs(brisk_settings) == {1})
        until(lambda: "dqmfu-c2b03-.." in worked(brisk_settings))


def test_it_writes_no_more_than_once_an_interval_while_the_database_fails(
    simulator: Simulator, brisk_settings: Settings, database: Production
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    database.fail_at_jobs("53100")
    with running_grabber(brisk_settings):
        until(lambda: len(poll_pauses_s(simulator, FILTER_UNIT)) >= 3)
    assert min(poll_pauses_s(simulator, FILTER_UNIT)) >= brisk_settings.grabber_sleep_time_info


def worked(settings: Settings) -> set[str]:
    """The machines that were mirrored, as pages are told."""
    return {machine for machine, link in machine_links(settings).items() if link.last_success_at is not None}


def test_it_mirrors_the_others_while_the_database_fails_at_one_machine(
    simulator: Simulator, brisk_settings: Settings, database: Production
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    simulator.machine(OTHER_FILTER_UNIT).upload(job_document(run=2, host=OTHER_FILTER_UNIT))
    database.fail_at_jobs("53100", of="new.run = 1")
    with running_grabber(brisk_settings):
        until(lambda: mirrored_runs(brisk_settings) == {2})
        database.recover()
        until(lambda: mirrored_runs(brisk_settings) == {1, 2})


@pytest.mark.parametrize("sqlstate", ["22003", "23514", "54000"])
def test_it_sets_aside_what_the_database_can_not_hold(
    simulator: Simulator, simulated_settings: Settings, database: Production, sqlstate: str
) -> None:
    """A number out of range, a rule that is broken, a limit."""
    for run in (1, 2, 3):
        simulator.machine(FILTER_UNIT).upload(job_document(run=run))
    database.fail_at_jobs(sqlstate, of="new.run = 2")
    assert mirror_once(simulated_settings)
    assert mirrored_runs(simulated_settings) == {1, 3}
    (aside,) = rows(simulated_settings, db.quarantined_documents)
    assert "rejected by the database" in aside["reason"]
    database.recover()
    assert mirror_once(simulated_settings)
    assert differences(simulated_settings, simulator) == []


def test_it_waits_for_a_lock_and_goes_on(
    simulator: Simulator, brisk_settings: Settings, database: Production
) -> None:
    with running_grabber(brisk_settings):
        until(lambda: simulator.requests)
        with database.locked("jobs") as is_waited_for:
            simulator.machine(FILTER_UNIT).upload(job_document(run=1))
            until(is_waited_for)
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
        with database.locked("jobs") as is_waited_for:
            simulator.machine(FILTER_UNIT).upload(job_document(run=1))
            assert "timeout" in wait_for_log(grabber, "database_unavailable")
            until(is_waited_for)
        until(lambda: mirrored_runs(simulated_settings) == {1})


def test_it_ends_while_the_database_hangs(
    simulator: Simulator,
    simulated_environment: dict[str, str],
    simulated_settings: Settings,
    database: Production,
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    with (
        database.locked("job_details") as is_waited_for,
        grabber_process(simulated_environment, "production") as grabber,
    ):
        until(is_waited_for)
        grabber.terminate()
        wait_for_log(grabber, "shutdown_timed_out")
        # The database itself would end the statement after 30 s.
        assert grabber.wait(timeout=TIMEOUT_S) == 0
    assert mirror_once(simulated_settings)
    assert differences(simulated_settings, simulator) == []
