"""One grabber a cluster: another takes over in time, and the first, back from a pause, writes no more."""

import signal
from collections.abc import Mapping
from contextlib import closing
from uuid import UUID

import pytest
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from simulator.documents import job_document
from simulator.fault_injection import FaultKind
from simulator.simulator import Simulator
from storage.leader_lock import LeaderLock
from tests.grabber_runner import FILTER_UNIT, differences, grabber_process, mirrored_runs, rows, wait_for_log
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres


def holder(settings: Settings) -> UUID | None:
    """Who holds the cluster."""
    beats = rows(settings, db.heartbeat)
    return beats[0]["leader_id"] if beats else None


def test_it_gives_way_when_its_connection_is_cut(
    simulator: Simulator,
    brisk_environment: dict[str, str],
    brisk_settings: Settings,
    postgres: EmbeddedPostgres,
    databases: Mapping[Cluster, str],
) -> None:
    """The first is stopped by SIGSTOP, as on a machine that sleeps, and its connections are cut meanwhile."""
    simulator.fill(FILTER_UNIT, 800, small=True)
    simulator.faults.add(FaultKind.LATENCY, 0.3)
    with grabber_process(brisk_environment, "production") as first:
        until(lambda: rows(brisk_settings, db.jobs))
        first.send_signal(signal.SIGSTOP)
        its_own = holder(brisk_settings)
        with closing(postgres.connect(databases[Cluster.PRODUCTION])) as connection:
            connection.cursor().execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with grabber_process(brisk_environment, "production") as second:
            until(lambda: holder(brisk_settings) != its_own)
            the_others = holder(brisk_settings)
            first.send_signal(signal.SIGCONT)
            wait_for_log(first, "another grabber holds the lock")
            simulator.faults.clear()
            until(lambda: len(rows(brisk_settings, db.jobs)) == 800)
            assert holder(brisk_settings) == the_others
            # And back again.
            second.kill()
            second.wait(timeout=TIMEOUT_S)
            simulator.machine(FILTER_UNIT).upload(job_document(run=7))
            until(lambda: 7 in mirrored_runs(brisk_settings))
    assert differences(brisk_settings, simulator) == []


def test_it_has_the_database_notice_in_time_that_its_machine_is_gone(settings: Settings) -> None:
    """A machine without power says no farewell: PostgreSQL has to ask, or the cluster stays taken."""
    database = db.engine(settings, Cluster.PRODUCTION, "grabber")
    with database.connect() as connection:
        shown = connection.execute(
            sa.text("SELECT name, setting::int AS value FROM pg_settings WHERE name LIKE 'tcp\\_%'")
        )
        kept = {row.name: row.value for row in shown}
    database.dispose()
    asked_s = kept["tcp_keepalives_idle"] + kept["tcp_keepalives_interval"] * kept["tcp_keepalives_count"]
    assert 0 < asked_s < 10
    assert 0 < kept["tcp_user_timeout"] < 10_000


@pytest.mark.parametrize("number", range(3))
def test_it_writes_nothing_once_another_is_written_down_as_holder(
    simulator: Simulator,
    brisk_environment: dict[str, str],
    brisk_settings: Settings,
    postgres: EmbeddedPostgres,
    databases: Mapping[Cluster, str],
    number: int,
) -> None:
    simulator.fill(FILTER_UNIT, 600, small=True)
    simulator.faults.add(FaultKind.LATENCY, 0.2)
    other = UUID(int=number + 1)
    with grabber_process(brisk_environment, "production") as grabber:
        until(lambda: len(rows(brisk_settings, db.jobs)) >= 200 * number)
        until(lambda: holder(brisk_settings))
        with closing(postgres.connect(databases[Cluster.PRODUCTION])) as connection:
            connection.cursor().execute("UPDATE heartbeat SET leader_id = %s", (str(other),))
        written = len(rows(brisk_settings, db.jobs))
        wait_for_log(grabber, "lock_lost cluster")
        assert len(rows(brisk_settings, db.jobs)) == written


def test_it_gives_the_cluster_back_before_its_connection_is_closed(settings: Settings) -> None:
    database = db.engine(settings, Cluster.PRODUCTION, "grabber")
    first, second = LeaderLock(database), LeaderLock(database)
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    first.close()
    second.close()
    database.dispose()
