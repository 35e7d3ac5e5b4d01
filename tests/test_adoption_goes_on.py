"""An adoption from its beginning to its end: ended at any moment it goes on, and nothing is lost or twice."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

import db
import dqmsquare_cfg
from dqmsquare_cfg import Cluster, Settings
from server import create_app
from storage import import_progress
from tests.earlier_mirror import ROOT, RUN, EarlierMirror, graph, job, run_adopt
from tests.mirroring import grabber_process, mirrored, rows, told
from tools.demo.postgres import EmbeddedPostgres

RUNS, JOBS_A_RUN = 50, 30


@pytest.fixture
def earlier(postgres: EmbeddedPostgres, databases: Mapping[Cluster, str]) -> EarlierMirror:
    """An earlier mirror's database with a few rows, in the place of the production cluster's."""
    mirror = EarlierMirror(postgres, databases[Cluster.PRODUCTION])
    mirror.write("runs", *(job(number) for number in range(1, 10)))
    mirror.write("graphs", graph())
    return mirror


def contents(settings: Settings) -> dict[str, Any]:
    """Every row that was taken over, but for when that was, and for logs as the dictionary packed them."""
    found: dict[str, Any] = mirrored(settings)
    for row in found["set_aside"]:
        del row["updated_at"]
    for row in found["job_details"]:
        del row["log"]
    return {**found, "machine_states": rows(settings, db.machine_states)}


def test_killed_at_random_moments_it_goes_on_where_it_was(
    postgres: EmbeddedPostgres, environment: dict[str, str], settings: Settings
) -> None:
    dice = random.Random(8)
    jobs = [
        job(number, run=RUN - number // JOBS_A_RUN, exit_code=dice.choice((0, 0, -1, None)))
        for number in range(1, RUNS * JOBS_A_RUN)
    ]
    graphs = [graph(RUN - number, rev=10_000 + number) for number in range(RUNS)]
    name = settings.database(Cluster.PRODUCTION)
    found = []
    for kills in (0, 3):
        mirror = EarlierMirror(postgres, name)
        mirror.write("runs", *jobs)
        mirror.write("graphs", *graphs)
        for number in range(kills):
            kill_after(dice.uniform(0.5, 3), environment, with_workers=number % 2 == 0)
        status, said = run_adopt(environment)
        assert status == 0, said
        if not kills:
            assert re.search(r"taking over database=\S+ documents=\d+ of=1549 per_s=\d+ left_s=\d+", said)
        found.append(contents(settings))
    assert len(found[0]["jobs"]) == len(jobs)
    assert len(found[0]["deliveries"]) == RUNS
    assert found[0] == found[1]


def kill_after(seconds: float, environment: Mapping[str, str], *, with_workers: bool) -> None:
    """Starts an adoption and kills it, with the processes that share its work or without."""
    process = subprocess.Popen(
        [sys.executable, "db.py", "adopt"],
        cwd=ROOT,
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    threading.Event().wait(seconds)
    if with_workers:
        # They are of the group that it leads, unless all is done already.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait(timeout=10)


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    earlier: EarlierMirror, environment: dict[str, str]
) -> None:
    earlier.write("runs", job(10, hostname="?", id="x"), job(11, run=None), job(12, runkey="runkey=<b>"))
    tables = (
        "SELECT relname, relrowsecurity FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    before = earlier.execute(tables)
    status, said = run_adopt(environment, "--dry-run")
    assert status == 0, said
    assert [line.strip() for line in said.splitlines() if line.startswith("  ")] == [
        f"jobs: 11, of 1 runs from {RUN} to {RUN}",
        "graphs of file delivery: 1",
        "rows of no run, such as dqm-stats, with nothing in them to take over: 1",
        "machines: dqmfu-c2b03-.., dqmrubu-c2a06-..",
        "can't be taken over: 1, no machine is named",
        "taken over without cmdline, which is of another shape: 1",
        "states of machines: 0, of which 0 are changes",
    ]
    assert earlier.execute(tables) == before


def test_who_reads_meanwhile_goes_on_and_who_holds_the_tables_is_waited_for_briefly(
    earlier: EarlierMirror, environment: dict[str, str], postgres: EmbeddedPostgres
) -> None:
    with closing(postgres.connect(earlier.name)) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; SELECT count(*) FROM runs")
        status, said = run_adopt(environment)
        assert status == 1
        assert "its tables are in use: end the programs of the earlier mirror" in said
    assert earlier.execute("SELECT count(*) FROM runs WHERE stdlog_start <> ''") == [(9,)]
    assert run_adopt(environment)[0] == 0


def test_before_it_nothing_is_shown_and_grabbers_wait(
    earlier: EarlierMirror, environment: dict[str, str], settings: Settings
) -> None:
    del earlier
    client = create_app(settings).test_client()
    has = "the tables of an earlier mirror, which `db adopt` takes over"
    refused = readiness(client)
    assert refused["reason"] == f"The database of the production cluster has {has}."
    with grabber_process(environment, "production") as grabber:
        told(grabber, f"waiting cluster=production: its database has {has}")
        assert run_adopt(environment)[0] == 0
        told(grabber, "took cluster=production")
        # By then they are being taken over or, where the grabber came late, were.
        told(grabber, "an earlier mirror's tables")
    shown = readiness(client)
    assert shown["ready"] is True
    assert "`db adopt --drop` removes them" in shown["warning"]


def readiness(client: FlaskClient) -> dict[str, Any]:
    told: Any = client.get("/readyz").json
    found: dict[str, Any] = told["clusters"]["production"]
    return found


def test_the_earlier_tables_go_when_the_operator_says_so(
    earlier: EarlierMirror, environment: dict[str, str], settings: Settings
) -> None:
    earlier.write("runs", job(10, hostname="?", id="x"))
    assert run_adopt(environment)[0] == 0
    status, said = run_adopt(environment, "--drop", told="not its name\n")
    assert status == 1
    assert "1 documents that could not be taken over: no machine is named" in said
    assert "not dropped" in said
    before = contents(settings)
    assert run_adopt(environment, "--drop", told=f"{earlier.name}\n")[0] == 0
    assert earlier.execute("SELECT relname FROM pg_class WHERE relname LIKE 'legacy%'") == []
    assert contents(settings) == before
    with db.engine(settings, Cluster.PRODUCTION, "tests").connect() as connection:
        assert import_progress.read(connection) is None


def test_what_still_depends_on_the_earlier_tables_is_named(
    earlier: EarlierMirror, environment: dict[str, str]
) -> None:
    earlier.execute("CREATE VIEW of_somebody AS SELECT run FROM runs")
    assert run_adopt(environment)[0] == 0
    status, said = run_adopt(environment, "--drop", "--yes")
    assert status == 1
    assert "view of_somebody depends on table legacy_runs" in said
    assert "Traceback" not in said


def test_the_earlier_tables_stay_until_all_is_taken_over(
    earlier: EarlierMirror, environment: dict[str, str]
) -> None:
    assert run_adopt(environment)[0] == 0
    earlier.execute("UPDATE adoption_batches SET done_at = NULL")
    words = [sys.executable, "db.py", "status"]
    shown = subprocess.run(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    ).stdout
    assert "an earlier mirror's tables are being taken over, 0 of 10 documents" in shown
    status, said = run_adopt(environment, "--drop", "--yes")
    assert status == 1
    assert "not dropped: an earlier mirror's tables are being taken over, 0 of 10 documents" in said
    assert earlier.execute("SELECT count(*) FROM legacy_runs") == [(9,)]


def test_undone_the_database_is_what_it_was(earlier: EarlierMirror, environment: dict[str, str]) -> None:
    tables = (
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    before = earlier.execute(tables), earlier.execute("SELECT * FROM runs ORDER BY id")
    assert run_adopt(environment)[0] == 0
    assert run_adopt(environment, "--undo", told=f"{earlier.name}\n")[0] == 0
    assert (earlier.execute(tables), earlier.execute("SELECT * FROM runs ORDER BY id")) == before
    assert run_adopt(environment)[0] == 0


def test_it_needs_no_superuser_and_then_its_own_role_reads_no_row_of_the_earlier_tables(
    earlier: EarlierMirror,
    environment: dict[str, str],
    postgres: EmbeddedPostgres,
    databases: Mapping[Cluster, str],
) -> None:
    postgres.drop_database(databases[Cluster.PLAYBACK])
    postgres.create_database(databases[Cluster.PLAYBACK])
    earlier.execute("CREATE ROLE ordinary LOGIN PASSWORD 'a-password-of-the-tests'")
    earlier.execute(f"ALTER DATABASE {earlier.name} OWNER TO ordinary")
    for table in ("runs", "graphs", "meta", "hostnames", "hoststatuses"):
        earlier.execute(f"ALTER TABLE {table} OWNER TO ordinary")
    ordinary = {"POSTGRES_USERNAME": "ordinary", "POSTGRES_PASSWORD": "a-password-of-the-tests"}
    status, said = run_adopt({**environment, **ordinary})
    assert status == 0, said
    assert earlier.execute("SET ROLE ordinary; SELECT count(*) FROM jobs") == [(9,)]
    for table in ("runs", "graphs", "meta", "hostnames", "hoststatuses"):
        assert earlier.execute(f"SET ROLE ordinary; SELECT count(*) FROM legacy_{table}") == [(0,)]
    assert run_adopt({**environment, **ordinary}, "--drop", "--yes")[0] == 0


def test_it_goes_on_under_the_same_secret_alone(earlier: EarlierMirror, environment: dict[str, str]) -> None:
    assert run_adopt(environment)[0] == 0
    earlier.execute("UPDATE adoption_batches SET done_at = NULL")
    status, said = run_adopt({**environment, "PSEUDONYM_SECRET": "another-mirror-secret-of-the-tests"})
    assert status == 1
    assert "PSEUDONYM_SECRET is not the one that this was begun under" in said


def test_logs_that_retention_would_take_away_are_not_taken_over(
    earlier: EarlierMirror, environment: dict[str, str]
) -> None:
    earlier.write("runs", job(10, timestamp=datetime.now(UTC) - timedelta(days=1)))
    given = {**environment, "JOB_LOG_RETENTION_DAYS": "30"}
    assert run_adopt(given)[0] == 0
    settings = dqmsquare_cfg.load(given)
    assert (len(rows(settings, db.jobs)), len(rows(settings, db.job_details))) == (10, 1)


def test_there_is_nothing_to_do_where_there_was_no_earlier_mirror(environment: dict[str, str]) -> None:
    for words in ([], ["--dry-run"], ["--drop", "--yes"], ["--undo", "--yes"]):
        status, said = run_adopt(environment, *words)
        assert status == 0
        assert "nothing of an earlier mirror is here" in said
