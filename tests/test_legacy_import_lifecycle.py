"""Start, interruption and end of a legacy import: nothing is lost or duplicated."""

import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from sqlalchemy.dialects.postgresql import insert

import db
import dqmsquare_cfg
from dqm2.pseudonyms import Pseudonymizer
from dqmsquare_cfg import Cluster, Settings
from legacy_import import lifecycle
from legacy_import.importer import Importer
from server import create_app
from storage import import_progress
from tests.grabber_runner import (
    count_rows,
    grabber_process,
    is_waited_for,
    mirrored_tables,
    rows,
    wait_for_log,
)
from tests.legacy_mirror import AT, FILTER_UNIT, ROOT, RUN, LegacyMirror, graph, job, run_adopt, run_db
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres

JOBS_A_RUN = 30
# The more there are, the longer a start takes.
PROCESSES = ("--processes", "2")


@pytest.fixture
def legacy(postgres: EmbeddedPostgres, databases: Mapping[Cluster, str]) -> LegacyMirror:
    """A legacy database with a few rows, in place of the production cluster's."""
    mirror = LegacyMirror(postgres, databases[Cluster.PRODUCTION])
    mirror.write("runs", *(job(number) for number in range(1, 10)))
    mirror.write("graphs", graph())
    return mirror


def contents(settings: Settings) -> dict[str, Any]:
    """All imported rows, without the times of the import and the compressed logs."""
    found: dict[str, Any] = mirrored_tables(settings)
    for row in found["quarantined_documents"]:
        del row["updated_at"]
    for row in found["job_details"]:
        del row["log"]
    return {**found, "machine_states": rows(settings, db.machine_states)}


def filled(postgres: EmbeddedPostgres, settings: Settings, runs: int) -> LegacyMirror:
    """A legacy database with many jobs and a file delivery of each run."""
    dice = random.Random(8)
    mirror = LegacyMirror(postgres, settings.database(Cluster.PRODUCTION))
    jobs = [
        job(number, run=RUN - number // JOBS_A_RUN, exit_code=dice.choice((0, 0, -1, None)))
        for number in range(runs * JOBS_A_RUN)
    ]
    mirror.write("runs", *jobs)
    mirror.write("graphs", *(graph(RUN - number, rev=10_000 + number) for number in range(runs)))
    return mirror


def imported_at_once(
    postgres: EmbeddedPostgres, environment: dict[str, str], settings: Settings, runs: int
) -> dict[str, Any]:
    """Contents of the database after an import that is not interrupted."""
    filled(postgres, settings, runs)
    status, output = run_adopt(environment, *PROCESSES)
    assert status == 0, output
    found = contents(settings)
    assert (len(found["jobs"]), len(found["deliveries"])) == (runs * JOBS_A_RUN, runs)
    return found


@contextmanager
def importing(environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """An import as a process of a group of its own; killed at the end, its workers are not."""
    process = subprocess.Popen(
        [sys.executable, "db.py", "adopt", *PROCESSES],
        cwd=ROOT,
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=TIMEOUT_S)


def test_it_continues_after_being_killed_while_it_writes(
    postgres: EmbeddedPostgres,
    environment: dict[str, str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An import that was interrupted before its first batch precedes it."""
    runs = 4
    expected = imported_at_once(postgres, environment, settings, runs)
    monkeypatch.setattr("legacy_import.importer._DOCUMENTS_PER_BATCH", JOBS_A_RUN)
    mirror = filled(postgres, settings, runs)
    with (
        patch("legacy_import.workers.import_newest", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        run_adopt(environment)
    with closing(postgres.connect(mirror.name)) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE job_details IN SHARE MODE")
        with importing(environment):
            until(lambda: is_waited_for(settings, db.job_details))
    status, output = run_adopt(environment, "--processes", "1")
    assert status == 0, output
    progress = rf"documents=\d+ total={runs * (JOBS_A_RUN + 1)} per_s=\d+ remaining_s=\d+"
    assert re.search(rf"import_progress database=\S+ {progress}", output)
    assert contents(settings) == expected


def test_it_reports_a_worker_that_is_killed(
    legacy: LegacyMirror, postgres: EmbeddedPostgres, environment: dict[str, str], settings: Settings
) -> None:
    """As by the kernel, which ends what takes too much memory."""
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    lifecycle.start(database, Pseudonymizer(settings.pseudonym_secret))
    database.dispose()
    others = multiprocessing.active_children()
    with (
        patch("legacy_import.workers.import_newest"),
        ThreadPoolExecutor(1) as pool,
        closing(postgres.connect(legacy.name)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("BEGIN; LOCK TABLE job_details IN SHARE MODE")
        adopted = pool.submit(run_adopt, environment, "--processes", "1")
        until(lambda: is_waited_for(settings, db.job_details))
        [worker] = set(multiprocessing.active_children()).difference(others)
        worker.kill()
        cursor.execute("ROLLBACK")
        status, output = adopted.result(TIMEOUT_S)
    assert status == 1
    assert f'import_worker_failed database={legacy.name} reason="killed by signal 9"' in output


def test_others_write_the_same_run_while_a_batch_is_converted(
    legacy: LegacyMirror, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Converting takes most of the time of a batch, for which a grabber is not to wait."""
    legacy.write("runs", *(job(number) for number in range(10, 60)))
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    lifecycle.start(database, Pseudonymizer(settings.pseudonym_secret))
    converted = 0

    def to_row(importer: Importer, *arguments: Any) -> Any:
        nonlocal converted
        converted += 1
        if converted == 59:
            with database.begin() as other:
                other.execute(sa.text("SET LOCAL lock_timeout = 1"))
                other.execute(insert(db.runs).values(run=RUN).on_conflict_do_nothing())
        return convert(importer, *arguments)

    convert = Importer.to_row
    monkeypatch.setattr(Importer, "to_row", to_row)
    importer = Importer(database, settings)
    while importer.import_next_batch():
        pass
    database.dispose()
    assert converted == 60
    assert count_rows(settings, db.jobs) == 59


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("runs", "times"), [(20, 2), (50, 6)])
def test_it_continues_after_being_killed_at_random_moments(
    postgres: EmbeddedPostgres, environment: dict[str, str], settings: Settings, runs: int, times: int
) -> None:
    dice = random.Random(8)
    expected = imported_at_once(postgres, environment, settings, runs)
    filled(postgres, settings, runs)
    for number in range(times):
        with importing(environment) as process:
            threading.Event().wait(dice.uniform(0.5, 3))
            if number % 2 == 0:
                # Workers are in its process group, unless the import is complete.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    status, output = run_adopt(environment, *PROCESSES)
    assert status == 0, output
    assert contents(settings) == expected


def test_a_dry_run_reports_what_would_be_done_and_writes_nothing(
    legacy: LegacyMirror, environment: dict[str, str]
) -> None:
    legacy.write("runs", job(10, hostname="?", id="x"), job(11, run=None), job(12, runkey="runkey=<b>"))
    tables = (
        "SELECT relname, relrowsecurity FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    before = legacy.execute(tables)
    status, output = run_adopt(environment, "--dry-run")
    assert status == 0, output
    assert [line.strip() for line in output.splitlines() if line.startswith("  ")] == [
        f"jobs: 11, of 1 runs from {RUN} to {RUN}",
        "file deliveries: 1",
        "rows without a run, such as dqm-stats, which contain nothing to import: 1",
        "machines: dqmfu-c2b03-.., dqmrubu-c2a06-..",
        "documents to skip: 1, without a host name",
        "invalid values to drop: 1, of cmdline (run key)",
        "machine states: 0, of which 0 are changes",
    ]
    assert legacy.execute(tables) == before


def test_it_waits_only_briefly_for_a_transaction_that_uses_the_tables(
    legacy: LegacyMirror,
    environment: dict[str, str],
    postgres: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "_START_LOCK_TIMEOUT", "50ms")
    with closing(postgres.connect(legacy.name)) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; SELECT count(*) FROM runs")
        status, output = run_adopt(environment)
        assert status == 1
        assert "the tables are in use: stop the programs of the earlier mirror" in output
    assert legacy.execute("SELECT count(*) FROM runs WHERE stdlog_start <> ''") == [(9,)]
    assert run_adopt(environment)[0] == 0


@pytest.mark.usefixtures("legacy")
def test_grabbers_and_pages_wait_for_the_start_of_the_import(
    environment: dict[str, str], settings: Settings
) -> None:
    client = create_app(settings).test_client()
    has = "the tables of an earlier mirror, which `db adopt` imports"
    waiting = readiness(client)
    assert waiting["reason"] == f"The database of the production cluster has {has}."
    with grabber_process(environment, "production") as grabber:
        wait_for_log(grabber, f'lock_waiting cluster=production reason="{has}"')
        assert run_adopt(environment)[0] == 0
        wait_for_log(grabber, "lock_acquired cluster=production")
        # The import is in progress or already complete.
        wait_for_log(grabber, "an earlier mirror's tables")
    ready = readiness(client)
    assert ready["ready"] is True
    assert "`db adopt --drop` removes them" in ready["warning"]


def readiness(client: FlaskClient) -> dict[str, Any]:
    report: Any = client.get("/readyz").json
    production: dict[str, Any] = report["clusters"]["production"]
    return production


def test_it_drops_the_legacy_tables_after_confirmation_and_names_objects_that_depend_on_them(
    legacy: LegacyMirror, environment: dict[str, str], settings: Settings
) -> None:
    legacy.write("runs", job(10, hostname="?", id="x"))
    legacy.execute("CREATE VIEW dependent_view AS SELECT run FROM runs")
    assert run_adopt(environment)[0] == 0
    status, output = run_adopt(environment, "--drop", "--yes")
    assert status == 1
    assert "view dependent_view depends on table legacy_runs" in output
    assert "Traceback" not in output
    legacy.execute("DROP VIEW dependent_view")
    status, output = run_adopt(environment, "--drop", stdin="not its name\n")
    assert status == 1
    assert "1, without a host name, of 1 run" in output
    assert "not dropped" in output
    before = contents(settings)
    assert run_adopt(environment, "--drop", stdin=f"{legacy.name}\n")[0] == 0
    assert legacy.execute("SELECT relname FROM pg_class WHERE relname LIKE 'legacy%'") == []
    assert contents(settings) == before
    with db.engine(settings, Cluster.PRODUCTION, "tests").connect() as connection:
        assert import_progress.read(connection) is None


def test_before_it_is_complete_it_drops_nothing_and_continues_only_with_the_same_secret(
    legacy: LegacyMirror, environment: dict[str, str]
) -> None:
    assert run_adopt(environment)[0] == 0
    legacy.execute("UPDATE import_batches SET completed_at = NULL")
    _, shown = run_db(environment, "status")
    assert "an earlier mirror's tables are being imported, 0 of 10 documents" in shown
    status, output = run_adopt(environment, "--drop", "--yes")
    assert status == 1
    assert "not dropped: an earlier mirror's tables are being imported, 0 of 10 documents" in output
    assert legacy.execute("SELECT count(*) FROM legacy_runs") == [(9,)]
    status, output = run_adopt({**environment, "PSEUDONYM_SECRET": "another-mirror-secret-of-the-tests"})
    assert status == 1
    assert "PSEUDONYM_SECRET differs from the one at the start of the import" in output


def test_undo_restores_the_database(legacy: LegacyMirror, environment: dict[str, str]) -> None:
    tables = (
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    before = legacy.execute(tables), legacy.execute("SELECT * FROM runs ORDER BY id")
    assert run_adopt(environment)[0] == 0
    assert run_adopt(environment, "--undo", stdin=f"{legacy.name}\n")[0] == 0
    assert (legacy.execute(tables), legacy.execute("SELECT * FROM runs ORDER BY id")) == before
    assert run_adopt(environment)[0] == 0


def test_it_needs_no_superuser_and_hides_legacy_rows_from_its_own_role(
    legacy: LegacyMirror,
    environment: dict[str, str],
    postgres: EmbeddedPostgres,
    databases: Mapping[Cluster, str],
) -> None:
    postgres.drop_database(databases[Cluster.PLAYBACK])
    postgres.create_database(databases[Cluster.PLAYBACK])
    legacy.execute("CREATE ROLE ordinary LOGIN PASSWORD 'a-password-of-the-tests'")
    legacy.execute(f"ALTER DATABASE {legacy.name} OWNER TO ordinary")
    for table in ("runs", "graphs", "meta", "hostnames", "hoststatuses"):
        legacy.execute(f"ALTER TABLE {table} OWNER TO ordinary")
    ordinary = {"POSTGRES_USERNAME": "ordinary", "POSTGRES_PASSWORD": "a-password-of-the-tests"}
    status, output = run_adopt({**environment, **ordinary})
    assert status == 0, output
    assert legacy.execute("SET ROLE ordinary; SELECT count(*) FROM jobs") == [(9,)]
    for table in ("runs", "graphs", "meta", "hostnames", "hoststatuses"):
        assert legacy.execute(f"SET ROLE ordinary; SELECT count(*) FROM legacy_{table}") == [(0,)]
    assert run_adopt({**environment, **ordinary}, "--drop", "--yes")[0] == 0


def test_it_imports_no_logs_older_than_the_retention_period(
    legacy: LegacyMirror, environment: dict[str, str]
) -> None:
    legacy.write("runs", job(10, timestamp=datetime.now(UTC) - timedelta(days=1)))
    given = {**environment, "JOB_LOG_RETENTION_DAYS": "30"}
    assert run_adopt(given)[0] == 0
    settings = dqmsquare_cfg.load(given)
    assert (count_rows(settings, db.jobs), count_rows(settings, db.job_details)) == (10, 1)


def test_it_takes_times_without_a_zone_as_utc(legacy: LegacyMirror, environment: dict[str, str]) -> None:
    legacy.write("hostnames", {"name": FILTER_UNIT})
    legacy.write("hoststatuses", {"host_id": 1, "is_up": True, "created_at": AT})
    times = ["runs.timestamp", "graphs.timestamp", "graphs.global_start", "hoststatuses.created_at"]
    for table, _, column in (time.partition(".") for time in times):
        legacy.execute(f"ALTER TABLE {table} ALTER {column} TYPE timestamp USING {column} AT TIME ZONE 'UTC'")
    status, output = run_adopt(environment, "--dry-run")
    assert status == 0, output
    assert f"\n  times without a zone, which are taken as UTC: {', '.join(times)}\n" in output
    assert run_adopt(environment)[0] == 0
    settings = dqmsquare_cfg.load(environment)
    assert min(row["updated_at"] for row in rows(settings, db.jobs)) == AT + timedelta(seconds=1)
    assert rows(settings, db.deliveries)[0]["global_start"] == AT - timedelta(hours=1)
    assert [row["since"] for row in rows(settings, db.machine_states)] == [AT]
    clocks = {row["clock_at"] for row in rows(settings, db.machines)}
    assert clocks == {AT + timedelta(seconds=9), AT}


def test_it_does_nothing_without_an_earlier_mirror(environment: dict[str, str]) -> None:
    for words in ([], ["--dry-run"], ["--drop", "--yes"], ["--undo", "--yes"]):
        status, output = run_adopt(environment, *words)
        assert status == 0
        assert "there are no tables of an earlier mirror" in output
