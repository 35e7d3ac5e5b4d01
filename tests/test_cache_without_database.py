"""While a database is away, pages show what was last known and say so; they recover by themselves."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html import unescape
from threading import Event

import pytest
import requests
import sqlalchemy as sa
from flask import Flask

import db
from dqmsquare_cfg import Cluster, Settings
from storage.change_listener import ChangeTracker
from storage.job_state import StateRules
from storage.log_dictionaries import DictionaryStore
from tests.grabber_runner import execute
from tests.mirrored_cluster import MirroredCluster, job, write_run
from tests.served import ServerProcess, frozen, server_process, workers_of
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres
from web.cache.cached_reader import CachedReader, ReadCache
from web.errors import DatabaseTooSlow, DatabaseUnavailable, DataUnreadable, QueryFailed

RUN = 358_791
OLD = "The mirror's database does not respond"
BROWSER = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def mirrored(shared_settings: Settings) -> MirroredCluster:
    """The production cluster with an ongoing run and a machine that is up."""
    cluster = MirroredCluster(shared_settings)
    write_run(cluster, RUN)
    cluster.set_machine_state(cluster.filter_units[0], datetime.now(UTC))
    cluster.beat()
    return cluster


@pytest.fixture(scope="module")
def server(shared_environment: dict[str, str], mirrored: MirroredCluster) -> Iterator[ServerProcess]:
    """A server whose databases are up, except while a test stops PostgreSQL."""
    del mirrored
    with server_process(shared_environment) as server:
        yield server


def ask(server: ServerProcess, path: str) -> requests.Response:
    return requests.get(f"{server.url}{path}", headers=BROWSER, timeout=TIMEOUT_S)


def keeping_reader(
    settings: Settings, cluster: Cluster, changes: ChangeTracker, require_available: Callable[[], None]
) -> CachedReader:
    """The reader of a cluster's pages; `require_available` is called before each read."""
    engine = db.engine(settings, cluster, "tests")
    rules = StateRules.for_cluster(settings, cluster)
    dictionaries = DictionaryStore(engine)
    return CachedReader(engine, rules, dictionaries, ReadCache(changes), require_available, stale_ok=True)


@contextmanager
def stopped(postgres: EmbeddedPostgres) -> Iterator[None]:
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


def shown(server: ServerProcess, path: str) -> str:
    """Text of a page, which must arrive in time."""
    answer = ask(server, path)
    assert answer.status_code == 200
    return unescape(answer.text)


def test_pages_show_the_last_state_marked_as_old(
    server: ServerProcess, shared_settings: Settings, postgres: EmbeddedPostgres
) -> None:
    job_page = f"/job/{write_run(MirroredCluster(shared_settings), RUN - 1)[0].document.identity}"
    pages = ("/", f"/?run={RUN}", "/cluster/", "/timeline/", "/statistics/", job_page)
    for page in pages:
        assert OLD not in shown(server, page)
    with stopped(postgres):
        until(lambda: all(OLD in shown(server, page) for page in pages))
        assert "ecalgpu" in shown(server, f"/?run={RUN}")
        # A run that is shown in another order was not rendered before.
        assert "ecalgpu" in shown(server, f"/?run={RUN}&sort=client")
        assert OLD in shown(server, "/live/freshness")
        assert "ecalgpu" in shown(server, f"/live/run?run={RUN}")
    until(lambda: not any(OLD in shown(server, page) for page in pages))


def test_the_history_of_machines_survives_any_outage(shared_settings: Settings) -> None:
    is_away = Event()

    def refuse_away() -> None:
        if is_away.is_set():
            raise DatabaseUnavailable

    mirrored = MirroredCluster(shared_settings)
    mirrored.set_machine_state(mirrored.filter_units[0], datetime.now(UTC))
    reader = keeping_reader(shared_settings, mirrored.cluster, ChangeTracker(), refuse_away)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    found = reader.cluster.state_changes(yesterday)
    is_away.set()
    for later in (timedelta(minutes=1), timedelta(hours=1)):
        assert reader.cluster.state_changes(yesterday + later) == found


def test_pages_of_a_database_that_hangs_say_so_in_time(
    server: ServerProcess, postgres: EmbeddedPostgres
) -> None:
    until(lambda: OLD not in shown(server, "/"))
    with frozen(postgres):
        until(lambda: OLD in shown(server, "/"))
        assert str(RUN) in shown(server, "/")
    until(lambda: OLD not in shown(server, "/"))


def test_an_uncached_page_is_unavailable(server: ServerProcess, postgres: EmbeddedPostgres) -> None:
    assert shown(server, "/")
    with stopped(postgres):
        refused = ask(server, "/?run=1")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert "can't be reached" in unescape(refused.text)


def test_scripts_get_no_old_data(server: ServerProcess, postgres: EmbeddedPostgres) -> None:
    paths = (
        f"/api?what=get_run&db=production&run={RUN}",
        "/api?what=get_info&db=production",
        f"/api/v1/clusters/production/runs/{RUN}",
        "/statistics/runs.csv?db=production",
        "/report/shift.csv?db=production&table=runs",
        "/report/efficiency.csv?table=clients&db=production&group=month",
        "/timeline/jobs.csv?db=production",
    )
    until(lambda: all(ask(server, path).ok for path in paths))
    with stopped(postgres):
        assert {path: ask(server, path).status_code for path in paths} == dict.fromkeys(paths, 503)
    until(lambda: all(ask(server, path).ok for path in paths))


def test_a_range_that_can_not_be_read_is_refused_before_it_begins(
    server: ServerProcess, postgres: EmbeddedPostgres
) -> None:
    ranges = (
        "/timeline/jobs.csv",
        "/statistics/runs.csv",
        f"/api?what=get_runs&db=production&from=1&to={RUN}",
        f"/api?what=get_clients&db=production&from=1&to={RUN}",
    )
    until(lambda: all(ask(server, path).ok for path in ranges))
    with stopped(postgres):
        for path in ranges:
            refused = ask(server, path)
            assert refused.status_code == 503, path
            assert "can't be reached" in unescape(refused.text)
    until(lambda: all(ask(server, path).ok for path in ranges))


def test_the_state_is_the_new_one_once_the_database_is_back(
    server: ServerProcess, postgres: EmbeddedPostgres, shared_settings: Settings
) -> None:
    assert f'data-run="{RUN}"' in shown(server, "/")
    with stopped(postgres):
        until(lambda: OLD in shown(server, "/"))
    later = MirroredCluster(shared_settings)
    later.write(later.filter_units[0], job(RUN + 1, "beam"))
    until(lambda: f'data-run="{RUN + 1}"' in shown(server, "/"))
    until(lambda: OLD not in shown(server, "/"))


def test_the_other_cluster_goes_on(server: ServerProcess, postgres: EmbeddedPostgres) -> None:
    assert shown(server, "/")
    name = server.environment["POSTGRES_PRODUCTION_DB_NAME"]
    connection = postgres.connect("template1")
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
    try:
        until(lambda: OLD in shown(server, "/"))
        assert OLD not in shown(server, "/?db=playback")
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        connection.close()
    until(lambda: OLD not in shown(server, "/"))


@contextmanager
def unreadable_jobs(settings: Settings, code: str) -> Iterator[None]:
    """Let each query of jobs fail with an error code of PostgreSQL."""
    fail = f"BEGIN RAISE EXCEPTION 'block {code}' USING ERRCODE = '{code}'; END"
    break_it = (
        f"CREATE FUNCTION fail() RETURNS boolean LANGUAGE plpgsql AS $${fail}$$",
        "ALTER TABLE jobs RENAME TO jobs_that_are_there",
        "CREATE VIEW jobs AS SELECT * FROM jobs_that_are_there WHERE fail()",
    )
    mend_it = ("DROP VIEW jobs", "DROP FUNCTION fail", "ALTER TABLE jobs_that_are_there RENAME TO jobs")
    execute(settings, *map(sa.text, break_it))
    try:
        yield
    finally:
        execute(settings, *map(sa.text, mend_it))


@pytest.mark.parametrize("code", ["XX000", "XX001", "XX002", "42501"])
def test_pages_of_a_table_that_cannot_be_read_say_so(
    server: ServerProcess, shared_settings: Settings, mirrored: MirroredCluster, code: str
) -> None:
    sentence = "can't read some of its data"
    page = f"/?run={RUN}"
    until(lambda: OLD not in shown(server, page))
    with unreadable_jobs(shared_settings, code):
        mirrored.notify(RUN)
        until(lambda: f"The database {sentence}, so data on this page are as of" in shown(server, page))
        assert "ecalgpu" in shown(server, page)
        refused = ask(server, f"/timeline/?to={RUN + 1}{code[-1]}")
        assert refused.status_code == 503
        assert f"The database of the production cluster {sentence}." in unescape(refused.text)
        assert ask(server, "/readyz").ok
    until(lambda: sentence not in shown(server, page))
    logged = server.logged().count(f'data_unreadable cluster=production reason="block {code}')
    assert 0 < logged <= len(workers_of(server))


@pytest.mark.parametrize(
    ("failures", "is_current"),
    [
        ([DataUnreadable], True),
        ([DatabaseTooSlow], False),
        ([DataUnreadable, DatabaseTooSlow], False),
    ],
)
def test_a_page_reads_the_rest_unless_a_query_took_too_long(
    shared_settings: Settings, failures: Sequence[type[QueryFailed]], *, is_current: bool
) -> None:
    mirrored = MirroredCluster(shared_settings, Cluster.PLAYBACK)
    host, now = mirrored.filter_units[0], datetime.now(UTC)
    mirrored.set_machine_state(host, now)
    changes = ChangeTracker()
    changes.is_listening = True
    coming: list[type[QueryFailed]] = []

    def fail() -> None:
        if coming:
            raise coming.pop(0)(mirrored.cluster)

    reader = keeping_reader(shared_settings, mirrored.cluster, changes, fail)
    reader.runs.span()
    known = reader.cluster.machine_statuses()
    mirrored.set_machine_state(host, now + timedelta(minutes=1), down_reason="HTTP 502")
    changes.invalidate_all()
    coming.extend(failures)
    with Flask(__name__).test_request_context("/"):
        for _ in failures:
            reader.runs.span()
        assert (reader.cluster.machine_statuses() != known) is is_current
