"""An overloaded server refuses requests in time and with a sentence, and continues to serve others."""

import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import count

import pytest
import requests

from dqmsquare_cfg import Cluster, Settings
from tests.mirrored_cluster import MirroredCluster, job
from tests.served import ServerProcess, server_process
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres

RUN = 358_791
NEWEST = "/live/run?db=production"
INFO = "/api?what=get_info&db=production"
OVERLOADED = "The server is overloaded. Try again in a few seconds."
IS_OLD = "The database took too long, so data on this page are as of"
RANGES_BUSY = "Too many requests for ranges of runs. Try again in a moment, or request one run at a time."


_NUMBERS = count(400_000)


def new_page() -> str:
    """A path that nobody has asked for: what was read once needs no database."""
    return f"/api?what=get_run&db=production&run={next(_NUMBERS)}"


def new_range() -> str:
    """A range that nobody has asked for."""
    return f"/api?what=get_clients&db=production&from=1&to={next(_NUMBERS)}"


@pytest.fixture(scope="module")
def settings(shared_settings: Settings) -> Settings:
    """The settings of a module with a run in the production cluster."""
    cluster = MirroredCluster(shared_settings)
    cluster.write(cluster.filter_units[0], job(RUN, "beam"))
    cluster.beat()
    return shared_settings


@pytest.fixture(scope="module")
def server(
    settings: Settings, shared_environment: dict[str, str], postgres: EmbeddedPostgres
) -> Iterator[ServerProcess]:
    """It answers one page at a time, and two ranges. What it has read before it is notified does not last."""
    with server_process({**shared_environment, "SERVER_THREADS": "1"}) as server:
        until(lambda: is_notified(postgres, settings))
        yield server


def is_notified(postgres: EmbeddedPostgres, settings: Settings) -> bool:
    """Whether a server has polled the heartbeat, the last step before it relies on notifications."""
    with closing(postgres.connect("template1")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state = 'idle'"
            " AND application_name = 'dqmsquare-mirror listener' AND query LIKE '%%heartbeat%%'",
            (settings.database(Cluster.PRODUCTION),),
        )
        return cursor.fetchone() == (1,)


@contextmanager
def locked_jobs(postgres: EmbeddedPostgres, settings: Settings) -> Iterator[None]:
    """Meanwhile a query of jobs takes as long as the server waits for it: that of a range 30 s."""
    database = settings.database(Cluster.PRODUCTION)
    with closing(postgres.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        yield
        cursor.execute("ROLLBACK")


@contextmanager
def busy_with_ranges(server: ServerProcess, postgres: EmbeddedPostgres, settings: Settings) -> Iterator[None]:
    """Meanwhile both ranges that the server answers at a time are under way; they succeed at the end."""
    with ThreadPoolExecutor(2) as clients:
        with locked_jobs(postgres, settings):
            asking = [clients.submit(ask_patiently, server, new_range()) for _ in range(2)]
            until(lambda: waiting_for_jobs(postgres, settings) == 2)
            yield
        assert [asked.result().status_code for asked in asking] == [200, 200]


def ask_patiently(server: ServerProcess, path: str) -> requests.Response:
    return requests.get(f"{server.url}{path}", timeout=TIMEOUT_S)


@contextmanager
def busy_with_pages(server: ServerProcess) -> Iterator[None]:
    """Meanwhile, with the jobs locked, the only page at a time is always one that waits for them."""
    ended = threading.Event()

    def ask_on() -> None:
        while not ended.is_set():
            server.get(new_page())

    with ThreadPoolExecutor(4) as clients:
        for _ in range(4):
            clients.submit(ask_on)
        try:
            yield
        finally:
            ended.set()


def waiting_for_jobs(postgres: EmbeddedPostgres, settings: Settings) -> int:
    """Number of connections that wait for the lock."""
    database = settings.database(Cluster.PRODUCTION)
    with closing(postgres.connect("template1")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'",
            (database,),
        )
        [found] = cursor.fetchone() or (0,)
        return int(found)


def connect(server: ServerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.environment["SERVER_PORT"])), timeout=TIMEOUT_S)


def answers_at_once(server: ServerProcess, paths: Sequence[str]) -> list[str]:
    """Responses to clients that ask at the same moment, each on its own connection."""
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(server))) for _ in paths]
        for client, path in zip(clients, paths, strict=True):
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return [stack.enter_context(client.makefile("rb")).read().decode() for client in clients]


def test_it_refuses_what_would_wait(
    server: ServerProcess, settings: Settings, postgres: EmbeddedPostgres
) -> None:
    assert server.get(NEWEST).ok
    with locked_jobs(postgres, settings), busy_with_pages(server):
        until(lambda: waiting_for_jobs(postgres, settings) == 1)
        answered: list[str] = []

        def are_refused() -> bool:
            # Those that have their turn find that the database does not answer.
            answered.extend(answers_at_once(server, [new_page() for _ in range(100)]))
            return any(answer.endswith(OVERLOADED) for answer in answered)

        until(are_refused)
        assert {answer.split("\r\n", 1)[0] for answer in answered} == {"HTTP/1.1 503 Service Unavailable"}
        assert all("\r\nretry-after: 5\r\n" in answer for answer in answered)
        assert all("\r\nx-content-type-options: nosniff\r\n" in answer for answer in answered)
        # However much there is to do, the process lives.
        alive = answers_at_once(server, ["/healthz"] * 30)
        assert {answer.split("\r\n", 1)[0] for answer in alive} == {"HTTP/1.1 200 OK"}
        # Nor do viewers of what has not changed notice.
        assert server.get(NEWEST).ok
    until(lambda: server.get(new_page()).ok)
    until(lambda: "requests_shed count=" in server.logged())


def test_a_query_that_takes_too_long_fails_alone(
    server: ServerProcess, settings: Settings, postgres: EmbeddedPostgres
) -> None:
    until(lambda: server.get(new_page()).ok)
    assert server.get(NEWEST).ok
    assert IS_OLD not in server.get("/").text
    cluster = MirroredCluster(settings)
    cluster.write(cluster.filter_units[0], job(RUN, "beam"))
    with locked_jobs(postgres, settings):
        slow = server.get(new_page())
        assert slow.status_code == 503
        assert slow.text.startswith("The database of the production cluster took too long.")
        assert server.get("/readyz").json()["clusters"]["production"]["ready"]
        # A page says that what was read before is old. A part of a page can't.
        until(lambda: IS_OLD in server.get("/").text)
        assert server.get(NEWEST).status_code == 503
    assert server.get(new_page()).ok


def test_ranges_leave_the_rest_free(
    server: ServerProcess, settings: Settings, postgres: EmbeddedPostgres
) -> None:
    # Read before, these are served from memory while the jobs are locked.
    assert server.get("/live/freshness").ok
    assert server.get(INFO).ok
    with busy_with_ranges(server, postgres, settings):
        refused = server.get(new_range())
        assert (refused.status_code, refused.text) == (503, RANGES_BUSY)
        assert int(refused.headers["Retry-After"]) > 0
        assert server.get("/live/freshness").ok
        assert server.get(INFO).ok
    assert server.get(new_range()).json() == ["beam"]


def test_sixteen_ranges_at_once_wait_for_each_other(server: ServerProcess) -> None:
    def are_answered() -> bool:
        # On a loaded machine some may wait too long.
        answers = answers_at_once(server, [new_range() for _ in range(16)])
        return {answer.split("\r\n", 1)[0] for answer in answers} == {"HTTP/1.1 200 OK"}

    until(are_answered)


def test_a_head_request_for_a_range_keeps_no_slot(server: ServerProcess) -> None:
    for _ in range(3):
        assert requests.head(f"{server.url}/timeline/jobs.csv", timeout=TIMEOUT_S).ok


def test_thousands_of_connections_that_ask_nothing_delay_nobody(server: ServerProcess) -> None:
    with ExitStack() as stack:
        for sent in (b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ") * 1000:
            client = stack.enter_context(closing(connect(server)))
            client.sendall(sent)
        assert server.get(INFO).ok
        # Nor are those that have asked once.
        for _ in range(300):
            kept = stack.enter_context(requests.Session())
            assert kept.get(f"{server.url}/healthz", timeout=TIMEOUT_S).ok
        assert server.get("/").ok


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"/?q={'x' * 5000}", {}),
        ("/", {"X-Long": "x" * 70_000}),
        ("/", {f"X-Header-{number}": "x" for number in range(201)}),
        ("/", {f"X-Header-{number}": "x" * 8000 for number in range(60)}),
    ],
)
def test_a_request_has_bounds(server: ServerProcess, path: str, headers: dict[str, str]) -> None:
    assert server.get(path, headers=headers).status_code in (414, 431)
    assert server.get(INFO).ok


def test_a_form_has_bounds(server: ServerProcess) -> None:
    sent = requests.post(f"{server.url}/cr/login/", data={"username": "x" * 1_000_000}, timeout=TIMEOUT_S)
    assert sent.status_code == 413


def test_half_sent_forms_hold_nobody_up(server: ServerProcess) -> None:
    form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 15000\r\n"
    half = b"POST /cr/login/ HTTP/1.1\r\nHost: x\r\n" + form + b"\r\nusername="
    with ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(closing(connect(server)))
            client.sendall(half)
        for _ in range(3):
            assert server.get(INFO).ok
            assert server.get(new_page()).ok
