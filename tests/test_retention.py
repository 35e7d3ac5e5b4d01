"""Logs and series are deleted after JOB_LOG_RETENTION_DAYS, transitions after 90 days; all else is kept."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

import db
import dqmsquare_cfg
from dqm2.records import JobRecord
from dqmsquare_cfg import Cluster, Settings
from server import create_app
from storage import transitions
from storage.retention import prune
from storage.transitions import Thing, Transition, TransitionKind
from tests.examples import core_of
from tests.grabber_runner import mirrored_tables, reader, rows, running_grabber
from tests.legacy_mirror import run_db
from tests.mirrored_cluster import MirroredCluster, delivery, job, log_of
from tests.waiting import until

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
    details = reader(settings).jobs.details(old.document.identity)
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
    download = client.get(f"/job/{old.document.identity}/log.txt")
    assert (download.status_code, download.text) == (404, "The log of this job is no longer kept.")


def test_it_is_run_by_an_idle_grabber(simulated_environment: dict[str, str]) -> None:
    settings = dqmsquare_cfg.load({**simulated_environment, "JOB_LOG_RETENTION_DAYS": str(RETENTION.days)})
    old, young = ended(FIRST_RUN, OLD), ended(FIRST_RUN + 1, YOUNG)
    write(settings, old, young)
    with running_grabber(settings):
        until(lambda: with_details(settings) == {young.document.identity})


def test_it_deletes_nothing_by_default(simulated_settings: Settings) -> None:
    assert simulated_settings.job_log_retention is None
    old = ended(FIRST_RUN, timedelta(days=3650))
    write(simulated_settings, old)
    with running_grabber(simulated_settings):
        until(reader(simulated_settings).cluster.sync_status)
    assert with_details(simulated_settings) == {old.document.identity}


def note(settings: Settings, ago: timedelta, *, is_problem: bool = False, **runs: int | None) -> None:
    """Write transitions that were recorded some time ago, each named, of a run or of none."""
    at = datetime.now(UTC) - ago
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        first = transitions.newest_id(connection) + 1
        transitions.write(
            connection,
            [
                Transition(
                    Thing(TransitionKind.CLIENT, name),
                    "state",
                    is_problem=is_problem,
                    occurred_at=at,
                    run=run,
                )
                for name, run in runs.items()
            ],
        )
        table = db.transitions
        connection.execute(sa.update(table).where(table.c.id >= first).values(noted_at=at))
    database.dispose()


def recorded(settings: Settings) -> list[str]:
    """The names of the transitions that are stored, oldest first."""
    return [row["subject"] for row in rows(settings, db.transitions)]


@pytest.mark.parametrize("per_batch", core_of([1, 2, 100], 1))
def test_it_keeps_transitions_of_the_newest_runs_and_the_newest_old_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, per_batch: int
) -> None:
    monkeypatch.setattr(transitions, "_DELETED_PER_BATCH", per_batch)
    write(settings, *(job(FIRST_RUN + number, "beam") for number in range(3)))
    old, young = transitions.RETENTION + timedelta(hours=1), transitions.RETENTION - timedelta(hours=1)
    note(settings, old, none=None, first=FIRST_RUN, second=FIRST_RUN + 1, third=FIRST_RUN + 2, last=None)
    note(settings, young, young=None)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    deleted = list(transitions.delete_old(database))
    assert (sum(deleted), max(deleted) <= per_batch) == (2, True)
    assert recorded(settings) == ["second", "third", "last", "young"]
    assert sum(transitions.delete_old(database)) == 0
    known_since = reader(settings).shifts.transitions_known_since()
    database.dispose()
    assert known_since is not None
    assert known_since > datetime.now(UTC) - old


def test_it_keeps_the_beginning_of_a_problem_that_goes_on(settings: Settings) -> None:
    """The problem may be muted for longer than transitions are kept, and is reported when the mute ends."""
    note(settings, transitions.RETENTION * 2, is_problem=True, muted=None, solved=None)
    note(settings, transitions.RETENTION, solved=None)
    note(settings, transitions.RETENTION, last=None)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    list(transitions.delete_old(database))
    assert recorded(settings) == ["muted", "last"]
    database.dispose()


def test_old_transitions_are_deleted_by_an_idle_grabber(simulated_settings: Settings) -> None:
    note(simulated_settings, transitions.RETENTION, deleted=None, last=None)
    with running_grabber(simulated_settings):
        until(lambda: "deleted" not in recorded(simulated_settings))
    assert "last" in recorded(simulated_settings)


@pytest.mark.long
def test_it_can_be_run_by_a_command(environment: dict[str, str], settings: Settings) -> None:
    write(settings, ended(FIRST_RUN, OLD))
    status, output = run_db(environment, "prune")
    assert status == 0
    assert "nothing to delete: JOB_LOG_RETENTION_DAYS is 0" in output
    status, output = run_db({**environment, "JOB_LOG_RETENTION_DAYS": str(RETENTION.days)}, "prune")
    assert status == 0
    assert "deleted logs and time series of 1 jobs" in output
    assert with_details(settings) == set()


def test_it_reports_an_unreachable_database(environment: dict[str, str]) -> None:
    unreachable = {**environment, "POSTGRES_PORT": "1", "JOB_LOG_RETENTION_DAYS": "30"}
    status, output = run_db(unreachable, "prune")
    assert status == 1
    assert output.count("can't be reached") == len(Cluster)
