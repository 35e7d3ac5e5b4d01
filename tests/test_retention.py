"""Logs and series are deleted after JOB_LOG_RETENTION_DAYS; runs, jobs and deliveries are kept."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import db
import dqmsquare_cfg
from dqm2.records import JobRecord
from dqmsquare_cfg import Cluster, Settings
from server import create_app
from simulator.simulator import Simulator
from storage.retention import prune
from tests.grabber_runner import mirrored_tables, reader, rows, running_grabber
from tests.mirrored_cluster import MirroredCluster, delivery, job, log_of
from tests.waiting import TIMEOUT_S, until

ROOT = dqmsquare_cfg.__file__.rpartition("/")[0]
RETENTION = timedelta(days=30)
OLD, YOUNG = timedelta(days=31), timedelta(days=29)
FIRST_RUN = 358_000


def ended(run: int, ago: timedelta) -> JobRecord:
    """A job with a log, which ended some time ago."""
    record = job(run, "beam", at=datetime.now(UTC) - ago, exit_code=0)
    return replace(record, log=log_of(record))


def write(settings: Settings, *jobs: JobRecord) -> MirroredCluster:
    cluster = MirroredCluster(settings)
    cluster.write(cluster.filter_units[0], *jobs, clock_at=datetime.now(UTC))
    return cluster


def prune_all(settings: Settings) -> list[int]:
    """Prune; returns the number of jobs of each batch."""
    return list(prune(db.engine(settings, Cluster.PRODUCTION, "tests"), RETENTION))


def with_details(settings: Settings) -> set[UUID]:
    """The jobs that have logs and series."""
    return {row["identity"] for row in rows(settings, db.job_details)}


def test_it_deletes_old_details_only(settings: Settings) -> None:
    old, young = ended(FIRST_RUN, OLD), ended(FIRST_RUN + 1, YOUNG)
    cluster = write(settings, old, young)
    cluster.write(cluster.builder_unit, delivery(FIRST_RUN, datetime.now(UTC) - OLD, 10))
    before = mirrored_tables(settings)
    assert sum(prune_all(settings)) == 1
    assert with_details(settings) == {young.document.identity}
    after = mirrored_tables(settings)
    assert [table for table in before if before[table] != after[table]] == ["job_details"]


def test_it_deletes_in_small_batches(settings: Settings) -> None:
    write(settings, *(ended(FIRST_RUN + number, OLD) for number in range(50)))
    # Then the lines that no log has any more.
    assert prune_all(settings) == [20, 20, 10, 0]
    assert prune_all(settings) == [0, 0, 0]


def test_it_decides_by_the_last_report_of_each_job(settings: Settings) -> None:
    old, young = ended(FIRST_RUN, OLD), ended(FIRST_RUN, YOUNG)
    # Run 0 means no run.
    of_no_run = ended(0, OLD)
    write(settings, old, young, of_no_run)
    prune_all(settings)
    assert with_details(settings) == {young.document.identity}


def test_it_deletes_old_details_that_arrive_late(settings: Settings) -> None:
    write(settings, ended(FIRST_RUN + 1, OLD))
    prune_all(settings)
    write(settings, ended(FIRST_RUN, OLD))
    assert sum(prune_all(settings)) == 1


def test_it_shows_a_job_without_its_log(settings: Settings) -> None:
    old = ended(FIRST_RUN, OLD)
    write(settings, old).beat()
    prune_all(settings)
    details = reader(settings).job_details(old.document.identity)
    assert details is not None
    assert (details.is_retained, details.job.exit_code, details.log.head) == (False, 0, "")
    client = create_app(settings).test_client()
    page = client.get(f"/job/{old.document.identity}")
    assert page.status_code == 200
    assert "Log, memory and events of this job are no longer stored." in page.text
    response = client.get(
        "/api", query_string={"what": "get_logs", "db": "production", "id": str(old.document.identity)}
    )
    assert response.status_code == 200
    assert "no longer kept" in response.text


def test_it_is_run_by_an_idle_grabber(simulator: Simulator, simulated_environment: dict[str, str]) -> None:
    del simulator
    settings = dqmsquare_cfg.load({**simulated_environment, "JOB_LOG_RETENTION_DAYS": str(RETENTION.days)})
    old, young = ended(FIRST_RUN, OLD), ended(FIRST_RUN + 1, YOUNG)
    write(settings, old, young)
    with running_grabber(settings):
        until(lambda: with_details(settings) == {young.document.identity})


def test_it_deletes_nothing_by_default(simulated_settings: Settings, simulator: Simulator) -> None:
    del simulator
    assert simulated_settings.job_log_retention is None
    old = ended(FIRST_RUN, timedelta(days=3650))
    write(simulated_settings, old)
    with running_grabber(simulated_settings):
        until(lambda: reader(simulated_settings).sync_status())
    assert with_details(simulated_settings) == {old.document.identity}


def run_prune(environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "db.py", "prune"],
        cwd=ROOT,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_it_can_be_run_by_a_command(environment: dict[str, str], settings: Settings) -> None:
    write(settings, ended(FIRST_RUN, OLD))
    kept = run_prune(environment)
    assert kept.returncode == 0
    assert "nothing to delete: JOB_LOG_RETENTION_DAYS is 0" in kept.stdout
    pruned = run_prune({**environment, "JOB_LOG_RETENTION_DAYS": str(RETENTION.days)})
    assert pruned.returncode == 0
    assert "deleted logs and time series of 1 jobs" in pruned.stdout
    assert with_details(settings) == set()


def test_it_reports_an_unreachable_database(environment: dict[str, str]) -> None:
    unreachable = {**environment, "POSTGRES_PORT": "1", "JOB_LOG_RETENTION_DAYS": "30"}
    refused = run_prune(unreachable)
    assert refused.returncode == 1
    assert refused.stdout.count("can't be reached") == len(Cluster)
