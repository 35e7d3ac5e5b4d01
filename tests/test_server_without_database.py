"""What the server does while its databases are away, of another schema, or hang."""

from collections.abc import Mapping
from contextlib import closing

import pytest
import requests

import db
from dqmsquare_cfg import Cluster, Settings
from tests.mirrored_cluster import MirroredCluster, job
from tests.served import ServerProcess, free_port, frozen, server_process
from tests.waiting import until
from tools.demo.postgres import EmbeddedPostgres

INFO = "/api?what=get_info&db=production"
AWAY = "The database of the production cluster can't be reached."
AWAY_STATUS = 503
SAYS_SO_WITHIN_S = 2


def ask(server: ServerProcess, path: str = INFO) -> requests.Response:
    return requests.get(f"{server.url}{path}", timeout=SAYS_SO_WITHIN_S)


def assert_says_away(answer: requests.Response) -> None:
    assert (answer.status_code, answer.text) == (AWAY_STATUS, AWAY)
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Content-Type"].startswith("text/plain")


def unreadiness(server: ServerProcess, cluster: str = "production") -> str | None:
    answer = ask(server, "/readyz")
    told = answer.json()
    assert answer.status_code == (200 if told["ready"] else 503)
    reason: str | None = told["clusters"][cluster]["reason"]
    return None if told["clusters"][cluster]["ready"] else reason


def set_schema(postgres: EmbeddedPostgres, database: str, revision: str, readable_from: str) -> None:
    with closing(postgres.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE alembic_version SET version_num = %s", (revision,))
        cursor.execute("UPDATE mirror_metadata SET value = %s WHERE name = 'readable_from'", (readable_from,))


def test_it_starts_without_a_database(environment: dict[str, str]) -> None:
    with server_process({**environment, "POSTGRES_PORT": free_port()}) as server:
        assert_says_away(ask(server))
        assert ask(server, "/healthz").ok
        assert unreadiness(server) == AWAY
        assert ask(server, "/readyz").status_code == 503
        assert "database_unavailable cluster=production" in server.logged()


def test_it_gives_a_browser_a_page_that_says_so(environment: dict[str, str]) -> None:
    with server_process({**environment, "POSTGRES_PORT": free_port()}) as server:
        answer = requests.get(f"{server.url}/", headers={"Accept": "text/html"}, timeout=SAYS_SO_WITHIN_S)
        assert answer.status_code == 503
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "production" in answer.text
        assert answer.headers["Refresh"] == answer.headers["Retry-After"]
        assert "Refresh" not in ask(server).headers, "a script comes again as it likes"


def test_it_recovers_when_the_database_comes_back(
    environment: dict[str, str], postgres: EmbeddedPostgres, settings: Settings
) -> None:
    mirrored = MirroredCluster(settings)
    mirrored.write(mirrored.filter_units[0], job(358_791, "beam"))
    with server_process(environment) as server:
        assert ask(server).json() == [358_791, 358_791]
        postgres.stop()
        try:
            for _ in range(3):
                assert_says_away(ask(server))
            assert unreadiness(server) == AWAY
        finally:
            postgres.start()
        until(lambda: ask(server).ok)
        assert ask(server).json() == [358_791, 358_791]
        assert unreadiness(server) is None
        assert "database_recovered cluster=production" in server.logged()


def test_it_says_in_time_that_a_database_hangs(
    environment: dict[str, str], postgres: EmbeddedPostgres
) -> None:
    with server_process(environment) as server:
        assert ask(server).ok
        with frozen(postgres):
            # What was read before is no longer given once the look behind the notifications has no answer.
            until(lambda: ask(server).status_code == AWAY_STATUS)
            for _ in range(3):
                assert_says_away(ask(server))
            assert ask(server, "/healthz").ok
        until(lambda: ask(server).ok)


def test_it_waits_for_a_schema_that_is_too_old(
    environment: dict[str, str],
    postgres: EmbeddedPostgres,
    settings: Settings,
    databases: Mapping[Cluster, str],
) -> None:
    postgres.drop_database(databases[Cluster.PLAYBACK])
    postgres.create_database(databases[Cluster.PLAYBACK])
    with server_process(environment) as server:
        told = "The database of the playback cluster has schema none, too old for this program "
        assert unreadiness(server, "playback") == f"{told}({db.head_revision()})."
        assert unreadiness(server, "production") is None
        assert ask(server, "/readyz").ok, "production is shown all the same"
        refused = ask(server, "/api?what=get_info&db=playback")
        assert (refused.status_code, refused.text.startswith(told)) == (503, True)
        db.migrate(db.engine(settings, Cluster.PLAYBACK, "tests"))
        until(lambda: unreadiness(server, "playback") is None)
        assert ask(server, "/api?what=get_info&db=playback").json() == [None, None]


def test_it_reads_a_newer_schema_that_lets_it(
    environment: dict[str, str], postgres: EmbeddedPostgres, databases: Mapping[Cluster, str]
) -> None:
    set_schema(postgres, databases[Cluster.PRODUCTION], "9999", readable_from=db.head_revision())
    with server_process(environment) as server:
        assert unreadiness(server) is None
        assert ask(server).ok


def test_it_does_not_start_on_a_schema_that_is_too_new(
    environment: dict[str, str], postgres: EmbeddedPostgres, databases: Mapping[Cluster, str]
) -> None:
    set_schema(postgres, databases[Cluster.PRODUCTION], "9999", readable_from="9999")
    with server_process(environment, is_up=False) as server:
        assert server.wait_for_end() != 0
        assert "production cluster has schema 9999, too new for this program" in server.logged()


def test_it_ends_when_the_schema_becomes_too_new(
    environment: dict[str, str], postgres: EmbeddedPostgres, databases: Mapping[Cluster, str]
) -> None:
    with server_process(environment) as server:
        assert unreadiness(server) is None
        set_schema(postgres, databases[Cluster.PRODUCTION], "9999", readable_from="9999")
        with pytest.raises(requests.ConnectionError):
            ask(server, "/readyz")
        assert server.wait_for_end() != 0
        assert "Start a newer release of the mirror" in server.logged()


def test_it_tells_nobody_where_the_database_is(environment: dict[str, str]) -> None:
    port = free_port()
    with server_process({**environment, "POSTGRES_PORT": port}) as server:
        told = [ask(server, path).text for path in (INFO, "/readyz", "/")]
        assert not any(port in text or environment["POSTGRES_HOST"] in text for text in told)
