"""The server while its databases are unreachable, hang or have another schema."""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from threading import Lock

import pytest
import requests
from flask.testing import FlaskClient

from dqmsquare_cfg import Cluster, Settings
from storage.schema import head_revision, migrate
from tests.databases import kept_engine
from tests.mirrored_cluster import MirroredCluster, job
from tests.served import ServerProcess, free_port, frozen, server_process
from tests.waiting import until
from tools.demo.postgres import EmbeddedPostgres
from web.databases import ClusterDatabase
from web.errors import DatabaseUnavailable

INFO = "/api?what=get_info&db=production"
UNREACHABLE = "The database of the production cluster can't be reached."


@pytest.fixture(scope="module")
def server(shared_environment: dict[str, str]) -> Iterator[ServerProcess]:
    """A server whose databases are up, except while a test stops PostgreSQL."""
    with server_process(shared_environment) as server:
        yield server


@pytest.fixture(scope="module")
def without_database(shared_environment: dict[str, str]) -> Iterator[ServerProcess]:
    """A server that finds no PostgreSQL on its port."""
    with server_process({**shared_environment, "POSTGRES_PORT": free_port()}) as server:
        yield server


def assert_unreachable(response: requests.Response) -> None:
    assert (response.status_code, response.text) == (503, UNREACHABLE)
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["Content-Type"].startswith("text/plain")


def unreadiness(server: ServerProcess, cluster: str = "production") -> str | None:
    """The reason why a cluster is not ready; None if it is."""
    response = server.get("/readyz")
    readiness = response.json()
    assert response.status_code == (200 if readiness["ready"] else 503)
    reason: str | None = readiness["clusters"][cluster]["reason"]
    return None if readiness["clusters"][cluster]["ready"] else reason


def set_schema(postgres: EmbeddedPostgres, database: str, revision: str, readable_from: str) -> None:
    with closing(postgres.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE alembic_version SET version_num = %s", (revision,))
        cursor.execute("UPDATE mirror_metadata SET value = %s WHERE name = 'readable_from'", (readable_from,))


def test_it_starts_without_a_database(without_database: ServerProcess) -> None:
    assert_unreachable(without_database.get(INFO))
    assert without_database.get("/healthz").ok
    assert unreadiness(without_database) == UNREACHABLE
    assert without_database.get("/readyz").status_code == 503
    assert "database_unavailable cluster=production" in without_database.logged()


def test_it_has_an_error_page_for_browsers(without_database: ServerProcess) -> None:
    response = without_database.get("/", headers={"Accept": "text/html"})
    assert response.status_code == 503
    assert response.headers["Content-Type"].startswith("text/html")
    assert "production" in response.text
    assert response.headers["Refresh"] == response.headers["Retry-After"]
    assert "Refresh" not in without_database.get(INFO).headers, "scripts decide themselves when to retry"


def test_it_does_not_show_the_address_of_the_database(without_database: ServerProcess) -> None:
    texts = [without_database.get(path).text for path in (INFO, "/readyz", "/")]
    address = without_database.environment["POSTGRES_HOST"], without_database.environment["POSTGRES_PORT"]
    # A hash in a URL may contain the port's digits.
    assert not any(re.search(rf"\b{re.escape(part)}\b", text) for text in texts for part in address)


def test_it_recovers_when_the_database_is_back(
    server: ServerProcess, shared_settings: Settings, postgres: EmbeddedPostgres
) -> None:
    mirrored = MirroredCluster(shared_settings)
    mirrored.write(mirrored.filter_units[0], job(358_791, "beam"))
    assert server.get(INFO).json() == [358_791, 358_791]
    postgres.stop()
    try:
        # Cached data are served until the listener for changes finds its connection closed.
        until(lambda: server.get(INFO).status_code == 503)
        for _ in range(3):
            assert_unreachable(server.get(INFO))
        assert unreadiness(server) == UNREACHABLE
    finally:
        postgres.start()
    until(lambda: server.get(INFO).ok)
    assert server.get(INFO).json() == [358_791, 358_791]
    assert unreadiness(server) is None
    assert "database_recovered cluster=production" in server.logged()


def test_it_reports_a_database_that_hangs(server: ServerProcess, postgres: EmbeddedPostgres) -> None:
    until(lambda: server.get(INFO).ok)
    with frozen(postgres):
        # Cached data are served until the next check for changes gets no response.
        until(lambda: server.get(INFO).status_code == 503)
        for _ in range(3):
            assert_unreachable(server.get(INFO))
        assert server.get("/healthz").ok
    until(lambda: server.get(INFO).ok)


def test_a_refusal_has_a_reason_though_the_outage_ends_meanwhile(
    postgres: EmbeddedPostgres,
    settings: Settings,
    databases: Mapping[Cluster, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another request notices the end of the outage while this one finds that it is looking up the schema."""
    monkeypatch.setattr("web.databases._RETRY_AFTER_S", 0)
    database = ClusterDatabase(settings, Cluster.PRODUCTION)
    set_schema(postgres, databases[Cluster.PRODUCTION], "none of ours", readable_from="none of ours")
    with pytest.raises(DatabaseUnavailable) as outage:
        database.check_schema()

    class HeldUntilTheEnd:
        def acquire(self, *, blocking: bool) -> bool:
            assert not blocking
            monkeypatch.setattr(database, "_checking", Lock())
            set_schema(postgres, databases[Cluster.PRODUCTION], head_revision(), readable_from="0001")
            database.check_schema()
            return False

    monkeypatch.setattr(database, "_checking", HeldUntilTheEnd())
    with pytest.raises(DatabaseUnavailable, match=re.escape(str(outage.value))):
        database.check_schema()
    database.check_schema()
    assert database.unavailable_since is None


def test_it_waits_until_an_old_schema_is_migrated(
    environment: dict[str, str], postgres: EmbeddedPostgres, databases: Mapping[Cluster, str]
) -> None:
    set_schema(postgres, databases[Cluster.PLAYBACK], "0001", readable_from="0001")
    with server_process(environment) as server:
        too_old = "The database of the playback cluster has schema 0001, too old for this program "
        assert unreadiness(server, "playback") == f"{too_old}({head_revision()})."
        assert unreadiness(server, "production") is None
        assert server.get("/readyz").ok, "the production cluster can be shown"
        rejected = server.get("/api?what=get_info&db=playback")
        assert (rejected.status_code, rejected.text.startswith(too_old)) == (503, True)
        set_schema(postgres, databases[Cluster.PLAYBACK], head_revision(), readable_from="0001")
        until(lambda: unreadiness(server, "playback") is None)
        assert server.get("/api?what=get_info&db=playback").json() == [None, None]


def test_it_waits_until_a_new_database_is_migrated(
    client: FlaskClient, postgres: EmbeddedPostgres, databases: Mapping[Cluster, str], settings: Settings
) -> None:
    name = databases[Cluster.PLAYBACK]
    postgres.drop_database(name)
    postgres.create_database(name)
    too_old = f"has schema none, too old for this program ({head_revision()})"
    unmigrated = f"The database of the playback cluster {too_old}."
    readiness = client.get("/readyz").get_json()
    assert readiness["clusters"]["playback"]["reason"] == unmigrated
    assert readiness["clusters"]["production"]["ready"]
    refused = client.get("/api?what=get_info&db=playback")
    assert (refused.status_code, refused.text) == (503, unmigrated)
    migrate(kept_engine(settings, Cluster.PLAYBACK))
    until(lambda: client.get("/readyz").get_json()["clusters"]["playback"]["ready"])
    assert client.get("/api?what=get_info&db=playback").get_json() == [None, None]


def test_it_reads_a_newer_schema_while_that_is_compatible_and_exits_when_it_is_not(
    environment: dict[str, str], postgres: EmbeddedPostgres, databases: Mapping[Cluster, str]
) -> None:
    set_schema(postgres, databases[Cluster.PRODUCTION], "9999", readable_from=head_revision())
    with server_process(environment) as server:
        assert unreadiness(server) is None
        assert server.get(INFO).ok
        set_schema(postgres, databases[Cluster.PRODUCTION], "9999", readable_from="9999")
        with pytest.raises(requests.ConnectionError):
            server.get("/readyz")
        assert server.wait_for_end() != 0
        assert "Start a newer release of the mirror" in server.logged()


def test_it_does_not_start_with_a_schema_that_is_too_new(
    environment: dict[str, str], postgres: EmbeddedPostgres, databases: Mapping[Cluster, str]
) -> None:
    set_schema(postgres, databases[Cluster.PRODUCTION], "9999", readable_from="9999")
    with server_process(environment, is_up=False) as server:
        assert server.wait_for_end() != 0
        assert "production cluster has schema 9999, too new for this program" in server.logged()
