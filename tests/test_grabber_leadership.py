"""Leadership: one grabber mirrors a cluster; another takes over in time, the first then writes nothing."""

import signal
from collections.abc import Mapping
from contextlib import closing
from uuid import UUID

import pytest
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from simulator.documents import job_document
from simulator.simulator import Simulator
from storage.leader_lock import LeaderLock
from tests.examples import core_of
from tests.grabber_runner import (
    FILTER_UNIT,
    count_rows,
    differences,
    grabber_process,
    hold_documents,
    mirrored_runs,
    rows,
    wait_for_log,
)
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres


def leader(settings: Settings) -> UUID | None:
    """The id of the leading grabber."""
    beats = rows(settings, db.heartbeat)
    return beats[0]["leader_id"] if beats else None


def test_it_is_replaced_when_its_connections_are_terminated(
    simulator: Simulator,
    brisk_environment: dict[str, str],
    brisk_settings: Settings,
    postgres: EmbeddedPostgres,
    databases: Mapping[Cluster, str],
) -> None:
    """SIGSTOP suspends the first grabber, like a machine that sleeps, and its connections are terminated."""
    simulator.fill(FILTER_UNIT, 120, small=True)
    held, release = hold_documents(simulator, lambda: count_rows(brisk_settings, db.jobs))
    with grabber_process(brisk_environment, "production") as first:
        assert held.wait(TIMEOUT_S)
        first.send_signal(signal.SIGSTOP)
        release.set()
        first_id = leader(brisk_settings)
        with closing(postgres.connect(databases[Cluster.PRODUCTION])) as connection:
            connection.cursor().execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with grabber_process(brisk_environment, "production") as second:
            until(lambda: leader(brisk_settings) != first_id)
            second_id = leader(brisk_settings)
            first.send_signal(signal.SIGCONT)
            wait_for_log(first, "another grabber holds the lock")
            until(lambda: count_rows(brisk_settings, db.jobs) == 120)
            assert leader(brisk_settings) == second_id
            # The first one takes over again.
            second.kill()
            second.wait(timeout=TIMEOUT_S)
            simulator.machine(FILTER_UNIT).upload(job_document(run=7))
            until(lambda: 7 in mirrored_runs(brisk_settings))
    assert differences(brisk_settings, simulator) == []


def test_it_makes_the_database_detect_a_dead_machine_in_time(settings: Settings) -> None:
    """A machine that loses power closes no connection: only keepalives release its lock."""
    database = db.engine(settings, Cluster.PRODUCTION, "grabber")
    with database.connect() as connection:
        shown = connection.execute(
            sa.text("SELECT name, setting::int AS value FROM pg_settings WHERE name LIKE 'tcp\\_%'")
        )
        keepalive = {row.name: row.value for row in shown}
    database.dispose()
    detected_after_s = (
        keepalive["tcp_keepalives_idle"]
        + keepalive["tcp_keepalives_interval"] * keepalive["tcp_keepalives_count"]
    )
    assert 0 < detected_after_s < 10
    assert 0 < keepalive["tcp_user_timeout"] < 10_000


# The number of batches that are stored, at least, before the other one takes over.
@pytest.mark.parametrize("number", core_of(range(3), 1))
def test_it_writes_nothing_once_another_grabber_is_the_leader(
    simulator: Simulator,
    brisk_environment: dict[str, str],
    brisk_settings: Settings,
    postgres: EmbeddedPostgres,
    databases: Mapping[Cluster, str],
    number: int,
) -> None:
    simulator.fill(FILTER_UNIT, 200, small=True)
    other = UUID(int=number + 1)
    held, release = hold_documents(simulator, lambda: count_rows(brisk_settings, db.jobs) >= 40 * number)
    with grabber_process(brisk_environment, "production") as grabber:
        assert held.wait(TIMEOUT_S)
        with closing(postgres.connect(databases[Cluster.PRODUCTION])) as connection:
            connection.cursor().execute("UPDATE heartbeat SET leader_id = %s", (str(other),))
        # The batch that was fetched before the held one may have been written until then.
        stored = count_rows(brisk_settings, db.jobs)
        assert stored < 200
        release.set()
        wait_for_log(grabber, "lock_lost cluster")
        assert count_rows(brisk_settings, db.jobs) == stored


def test_it_releases_the_lock_before_its_connection_is_closed(settings: Settings) -> None:
    database = db.engine(settings, Cluster.PRODUCTION, "grabber")
    first, second = LeaderLock(database), LeaderLock(database)
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    first.close()
    second.close()
    database.dispose()
