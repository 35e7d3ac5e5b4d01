"""The server under test: as an application in this process, and as the process that it is in production."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from runtime import supervisor
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres

ROOT = Path(__file__).resolve().parent.parent
# On a busy machine a request may wait for others, and be refused, though nobody else asks anything.
_BUSY = 503
# Most tests have a server; half a second of Werkzeug's own for each would be minutes.
_END_NOTICED_WITHIN_S = 0.02


@dataclass
class ServerProcess:
    """A running `python server.py`; `log` is where its standard error goes."""

    process: "subprocess.Popen[bytes]"
    environment: Mapping[str, str]
    log: Path

    @property
    def url(self) -> str:
        """The address of the mirror page, without the slash."""
        prefix = self.environment.get("SERVER_URL_PREFIX", "")
        return f"http://127.0.0.1:{self.environment['SERVER_PORT']}{'/' if prefix else ''}{prefix}"

    @property
    def metrics_url(self) -> str:
        """The address of its metrics."""
        return f"http://127.0.0.1:{self.environment['SERVER_METRICS_PORT']}/metrics"

    def get(self, path: str, **options: object) -> requests.Response:
        """What it answers to a path below `url`."""
        return requests.get(f"{self.url}{path}", timeout=TIMEOUT_S, **options)  # type: ignore[arg-type]

    def samples(self) -> dict[str, float]:
        """The samples of its metrics by name and labels, as Prometheus reads them; refused it comes again."""
        answers: list[requests.Response] = []

        def has_answered() -> bool:
            answers.append(requests.get(self.metrics_url, timeout=TIMEOUT_S))
            return answers[-1].status_code != _BUSY

        until(has_answered)
        assert answers[-1].ok, answers[-1].text
        lines = [line for line in answers[-1].text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def is_up(self) -> bool:
        """Whether it answers."""
        with suppress(requests.ConnectionError):
            return self.get("/healthz").ok
        return False

    def logged(self) -> str:
        """All that it has said."""
        return self.log.read_text()

    def wait_for_end(self) -> int:
        """Waits for its end; its exit status."""
        return self.process.wait(timeout=TIMEOUT_S)


class _Quiet(WSGIRequestHandler):
    """Without Werkzeug's own access log, which has queries in it."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: the application has a log of its own."""


@contextmanager
def server_thread(application: Flask) -> Iterator[str]:
    """The address of a server of the application in this process, without the slash at its end."""
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(_END_NOTICED_WITHIN_S,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> str:
    """A port that nobody listens on."""
    return str(supervisor.free_port())


@contextmanager
def server_process(
    environment: Mapping[str, str], *command: str, is_up: bool = True
) -> Iterator[ServerProcess]:
    """A server on a port of its own (`command`: another way to start it), once it answers if it `is_up`."""
    given = {"SERVER_PORT": free_port(), **environment}
    log = Path(environment["LOG_DIR"]) / f"standard-error-{given['SERVER_PORT']}"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(
            command or (sys.executable, "server.py"),
            cwd=ROOT,
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    server = ServerProcess(process, given, log)
    try:
        if is_up:
            _wait_until_up(server)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout=TIMEOUT_S)
        finally:
            process.kill()
            process.wait()


def workers_of(server: ServerProcess) -> list[int]:
    """The numbers of its worker processes."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    return [int(child) for child in children.split()]


@contextmanager
def frozen(postgres: EmbeddedPostgres) -> Iterator[None]:
    """PostgreSQL with all of its processes stopped: it is reached, and never answers."""
    master = postgres.process.pid
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    processes = [master, *map(int, children)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            # The first to go on may have ended others.
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_until_up(server: ServerProcess) -> None:
    until(lambda: server.is_up() or server.process.poll() is not None)
    assert server.process.poll() is None, server.logged()
