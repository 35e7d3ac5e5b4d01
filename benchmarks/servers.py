"""Servers that are measured, each a process of its own on a port of its own."""

import socket
import time
from contextlib import closing
from dataclasses import dataclass

from benchmarks.environment import Stage
from runtime.supervisor import Process, free_port

_STARTED_WITHIN_S = 30.0
# Gunicorn's own command makes an application that hears of no changes, and so keeps nothing.
_KEEPS_NOTHING = (
    *("-m", "gunicorn", "server:create_app()", "--worker-class", "web.serving.worker.PatientWorker"),
    *("--threads", "8", "--keep-alive", "20", "--worker-connections", "4096", "--bind"),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens at `url`."""

    process: Process
    url: str


def mirror_server(made: Stage) -> Server:
    """The mirror's server, as it is in production."""
    port = str(free_port())
    return _started(made, "server", ["server.py"], port)


def server_that_keeps_nothing(made: Stage) -> Server:
    """The mirror's server, that asks the database and makes the answer every time."""
    port = str(free_port())
    return _started(made, "keeps-nothing", [*_KEEPS_NOTHING, f"127.0.0.1:{port}"], port)


def bare_server(made: Stage) -> Server:
    """A bare Flask view that answers 304 (`benchmarks/bare_view.py`)."""
    port = str(free_port())
    return _started(made, "bare", ["-m", "benchmarks.bare_view", port], port)


def _started(made: Stage, name: str, words: list[str], port: str) -> Server:
    process = made.start(name, words, made.environment(SERVER_PORT=port))
    ends_s = time.monotonic() + _STARTED_WITHIN_S
    while not _listens(port):
        process.raise_if_exited()
        if time.monotonic() > ends_s:
            raise RuntimeError(process.report("does not answer"))
        process.wait(0.05)
    return Server(process, f"http://127.0.0.1:{port}")


def _listens(port: str) -> bool:
    with closing(socket.socket()) as door:
        return door.connect_ex(("127.0.0.1", int(port))) == 0
