"""A slow reader of a large response delays nobody else and receives all of it."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse
from pathlib import Path

import pytest
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from tests import processes
from tests.mirrored_cluster import CLIENTS as ALL_CLIENTS
from tests.mirrored_cluster import MirroredCluster, delivery, job
from tests.served import ServerProcess, server_process, workers_of
from tests.waiting import TIMEOUT_S, until

THREADS = 4
# More than the system keeps for a connection. Few jobs with long names are as much as many with short ones.
LUMISECTIONS, RUNS = 20_000, 250
LONG_NAMES = [f"{client}{'x' * 1100}" for client in ALL_CLIENTS]
OLD_RUN, FIRST_RUN = 1, 300_000
GRAPH = f"/api?what=get_graph&db=production&run={OLD_RUN}"
RANGE = "/api?what=get_runs&db=production&from=0&to=999999"
CLIENTS = "/api?what=get_clients&db=production&from=1&to=2"
OTHER_CLIENTS = "/api?what=get_clients&db=production&from=1&to=3"
INFO = "/api?what=get_info&db=production"


@pytest.fixture(scope="module")
def server(shared_settings: Settings, shared_environment: dict[str, str]) -> Iterator[ServerProcess]:
    """A server with many runs and a long file delivery."""
    cluster = MirroredCluster(shared_settings)
    cluster.write(cluster.filter_units[0], *(job(FIRST_RUN, client) for client in LONG_NAMES))
    copy_run(shared_settings, RUNS - 1)
    start = datetime.now(UTC) - timedelta(days=3000)
    cluster.write(cluster.builder_unit, delivery(OLD_RUN, start, LUMISECTIONS))
    with server_process({**shared_environment, "SERVER_THREADS": str(THREADS)}) as server:
        yield server


def copy_run(settings: Settings, times: int) -> None:
    """Add runs with the jobs of the one that there is."""
    changed = {"run": "run + number", "identity": "gen_random_uuid()"}
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        # Without the triggers, which take longer than the copy: nothing here needs them.
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        for table in (db.runs, db.jobs):
            columns = table.c.keys()
            values = [changed.get(column, column) for column in columns]
            copied = f"SELECT {', '.join(values)} FROM {table.name}, generate_series(1, {times}) AS number"
            connection.execute(sa.text(f"INSERT INTO {table.name} ({', '.join(columns)}) {copied}"))
            connection.execute(sa.text(f"ANALYZE {table.name}"))
    database.dispose()


def ask(server: ServerProcess, path: str) -> socket.socket:
    """A visitor who has asked, and takes little at a time."""
    visitor = socket.socket()
    visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    visitor.settimeout(TIMEOUT_S)
    visitor.connect(("127.0.0.1", int(server.environment["SERVER_PORT"])))
    visitor.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return visitor


def test_slow_readers_take_no_thread(server: ServerProcess) -> None:
    whole = server.get(GRAPH).content
    with ExitStack() as stack:
        readers = [stack.enter_context(closing(ask(server, GRAPH))) for _ in range(2 * THREADS)]
        begun = [reader.recv(1) for reader in readers]
        assert begun == [b"H"] * len(readers)
        # All of them have their answer under way, and nobody reads on.
        for path in (INFO, "/live/freshness", "/healthz"):
            assert server.get(path).ok
        rest = stack.enter_context(readers[0].makefile("rb")).read()
    assert rest.partition(b"\r\n\r\n")[2] == whole


def test_slow_readers_of_ranges_leave_room_to_others(server: ServerProcess) -> None:
    whole = server.get(RANGE).json()
    assert len(whole) == RUNS
    with closing(ask(server, RANGE)) as reader:
        assert reader.recv(1, socket.MSG_PEEK) == b"H"
        for path in (INFO, "/live/freshness", "/timeline/"):
            assert server.get(path).ok
        until(lambda: server.get(CLIENTS).ok)
        with HTTPResponse(reader) as answer:
            answer.begin()
            assert json.load(answer) == whole


def test_a_slow_reader_that_leaves_frees_its_files(server: ServerProcess) -> None:
    before = temporary_files(server)
    with closing(ask(server, RANGE)) as reader:
        assert reader.recv(1) == b"H"
        until(lambda: temporary_files(server) > before)
    until(lambda: temporary_files(server) == before)


def test_two_readers_that_take_nothing_leave_ranges_to_others_and_are_cut_off(server: ServerProcess) -> None:
    before = temporary_files(server)
    with closing(ask(server, RANGE)) as first, closing(ask(server, RANGE)) as second:
        for reader in (first, second):
            assert reader.recv(1) == b"H"
        until(lambda: server.get(OTHER_CLIENTS).ok)
        until(lambda: temporary_files(server) == before)
        for reader in (first, second):
            assert is_cut_off(reader)


def temporary_files(server: ServerProcess) -> int:
    """Number of unnamed temporary files that the worker has open."""
    [worker] = workers_of(server)
    files = processes.open_files(worker, Path(server.environment["TMP_DIR"]))
    return sum(file.endswith(" (deleted)") for file in files)


def is_cut_off(reader: socket.socket) -> bool:
    """Whether what comes ends before its end."""
    try:
        with reader.makefile("rb") as answer:
            return not answer.read().endswith(b"\r\n0\r\n\r\n")
    except ConnectionResetError:
        return True
