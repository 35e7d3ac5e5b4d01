"""More than the server can do is refused in a sentence, at once; what it can do it goes on doing."""

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta

import pytest
import requests

from dqmsquare_cfg import Cluster, Settings
from tests.mirrored_cluster import MirroredCluster, job
from tests.served import ServerProcess, server_process, workers_of
from tests.waiting import until
from tools.demo.postgres import EmbeddedPostgres

RUN = 358_791
NEWEST = "/live/run?db=production"
INFO = "/api?what=get_info&db=production"
ANOTHER = f"/api?what=get_run&db=production&run={RUN}"
RANGE = "/api?what=get_clients&db=production&from=1&to=400000"
BUSY = "The server has more to do than it can."
OTHERS = "Others are asking for ranges of runs. Ask again in a moment, or for a run at a time."


@pytest.fixture(scope="module")
def settings(shared_settings: Settings) -> Settings:
    cluster = MirroredCluster(shared_settings)
    cluster.write(cluster.filter_units[0], job(RUN, "beam"))
    cluster.beat()
    return shared_settings


@pytest.fixture(scope="module")
def server(settings: Settings, shared_environment: dict[str, str]) -> Iterator[ServerProcess]:
    """It does two things at a time."""
    del settings
    with server_process({**shared_environment, "SERVER_THREADS": "2"}) as server:
        yield server


@contextmanager
def locked_jobs(postgres: EmbeddedPostgres, settings: Settings) -> Iterator[None]:
    """Meanwhile a question about jobs is answered as late as its asker has patience."""
    database = settings.database(Cluster.PRODUCTION)
    with closing(postgres.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        yield
        cursor.execute("ROLLBACK")


@contextmanager
def asking_for_ranges(
    server: ServerProcess, postgres: EmbeddedPostgres, settings: Settings, count: int
) -> Iterator[list["Future[requests.Response]"]]:
    """Meanwhile so many questions about ranges are under way; they are answered at the end."""
    with ThreadPoolExecutor(count) as askers:
        with locked_jobs(postgres, settings):
            asking = [askers.submit(server.get, RANGE) for _ in range(count)]
            until(lambda: waiting_for_jobs(postgres, settings) == count)
            yield asking
        assert [asked.result().status_code for asked in asking] == [200] * count


def waiting_for_jobs(postgres: EmbeddedPostgres, settings: Settings) -> int:
    """How many connections wait for the lock."""
    database = settings.database(Cluster.PRODUCTION)
    with closing(postgres.connect("template1")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'",
            (database,),
        )
        [found] = cursor.fetchone() or (0,)
        return int(found)


def answers_at_once(server: ServerProcess, path: str, count: int) -> list[str]:
    """What as many visitors are answered who all ask in the same moment, each on a connection of his own."""
    port = int(server.environment["SERVER_PORT"])
    with ExitStack() as stack:
        visitors = [
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=10)))
            for _ in range(count)
        ]
        for visitor in visitors:
            visitor.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return [stack.enter_context(visitor.makefile("rb")).read().decode() for visitor in visitors]


def test_it_refuses_at_once_what_would_wait(
    shared_environment: dict[str, str], settings: Settings, postgres: EmbeddedPostgres
) -> None:
    with server_process({**shared_environment, "SERVER_THREADS": "1"}) as server:
        assert server.get(NEWEST).ok
        with asking_for_ranges(server, postgres, settings, 1):
            refused = answers_at_once(server, ANOTHER, 100)
            assert {answer.split("\r\n", 1)[0] for answer in refused} == {"HTTP/1.1 503 Service Unavailable"}
            assert {answer.rpartition("\r\n")[2] for answer in refused} == {BUSY}
            assert all("\r\nRetry-After: 5\r\n" in answer for answer in refused)
            assert all("\r\nX-Content-Type-Options: nosniff\r\n" in answer for answer in refused)
            # However much there is to do, the process lives.
            lives = answers_at_once(server, "/healthz", 30)
            assert {answer.split("\r\n", 1)[0] for answer in lives} == {"HTTP/1.1 200 OK"}
            # Nor do viewers of what has not changed notice.
            assert server.get(NEWEST).ok
        assert server.get(ANOTHER).ok
        until(lambda: "requests_shed count=" in server.logged())


def test_who_comes_when_others_have_waited_too_long_is_refused_at_once(
    shared_environment: dict[str, str], settings: Settings, postgres: EmbeddedPostgres
) -> None:
    # Without threads for commands, on which others would wait too.
    with server_process({**shared_environment, "SERVER_THREADS": "1", "CR_ENABLED": "false"}) as server:
        workers = workers_of(server)
        with asking_for_ranges(server, postgres, settings, 1), ThreadPoolExecutor(100) as askers:
            asking: list[Future[requests.Response]] = []

            def one_more_is_refused() -> bool:
                asking.append(askers.submit(server.get, ANOTHER))
                answers = [asked.result() for asked in asking if asked.done()]
                return any(answer.elapsed < timedelta(seconds=0.5) for answer in answers)

            until(one_more_is_refused)
            assert {asked.result().status_code for asked in asking} == {503}
        assert server.get(ANOTHER).ok
        assert workers_of(server) == workers


def test_those_who_ask_for_ranges_leave_room_for_others(
    server: ServerProcess, settings: Settings, postgres: EmbeddedPostgres
) -> None:
    with asking_for_ranges(server, postgres, settings, 1):
        refused = server.get(RANGE)
        assert (refused.status_code, refused.text) == (503, OTHERS)
        assert int(refused.headers["Retry-After"]) > 0
        assert server.get("/live/freshness").ok
        assert server.get(INFO).ok
    assert server.get(RANGE).json() == ["beam"]


def test_who_asks_for_the_head_of_a_range_alone_holds_no_place(server: ServerProcess) -> None:
    for _ in range(3):
        assert requests.head(f"{server.url}/timeline/jobs.csv", timeout=10).ok


def test_hundreds_who_ask_nothing_are_in_nobodys_way(server: ServerProcess) -> None:
    port = int(server.environment["SERVER_PORT"])
    with ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=10)))
        assert server.get(INFO).ok
        # Nor are those who have asked once.
        for _ in range(300):
            kept = stack.enter_context(requests.Session())
            assert kept.get(f"{server.url}/healthz", timeout=10).ok
        assert server.get("/").ok


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"/?q={'x' * 5000}", {}),
        ("/", {"X-Long": "x" * 10_000}),
        ("/", {f"X-Header-{number}": "x" for number in range(100)}),
    ],
)
def test_a_request_has_bounds(server: ServerProcess, path: str, headers: dict[str, str]) -> None:
    assert 400 <= server.get(path, headers=headers).status_code < 500
    assert server.get(INFO).ok


def test_a_form_has_bounds(server: ServerProcess) -> None:
    sent = requests.post(f"{server.url}/cr/login/", data={"username": "x" * 1_000_000}, timeout=10)
    assert sent.status_code == 413


def test_what_is_sent_behind_a_half_request_holds_nobody_up(server: ServerProcess) -> None:
    known = {"Accept-Encoding": "gzip"}
    until(lambda: server.get(INFO, headers=known).ok)
    form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 50000\r\n"
    half = b"POST /cr/login/ HTTP/1.1\r\nHost: x\r\n" + form + b"\r\n"
    first = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    kept = f"GET {INFO} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n".encode()
    # The server reads so much at a time: the half request together with the first, and what is kept not yet.
    body = b"x" * (8192 - len(first % 1000) - len(half))
    with closing(socket.create_connection(("127.0.0.1", int(server.environment["SERVER_PORT"])))) as visitor:
        visitor.sendall(first % len(body) + body + half + kept)
        assert visitor.recv(12) == b"HTTP/1.1 404"
        for _ in range(3):
            assert server.get(INFO, headers=known).ok
