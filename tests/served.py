"""The web server under test, as a thread of this process or as a process of its own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import pbkdf2_hmac
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from werkzeug.serving import WSGIRequestHandler, make_server

from config import parsers
from dqmsquare_cfg import Settings
from runtime import supervisor
from server import create_app
from tests import fork_server
from tests.fork_server import ForkedProgram
from tests.processes import children_of
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

ROOT = Path(__file__).resolve().parent.parent
# For tests of the start itself: each start imports everything, as in production.
COMMAND = (sys.executable, "server.py")
# Werkzeug's default of half a second would add minutes: most tests start a server.
_SHUTDOWN_POLL_S = 0.02


@dataclass
class ServerProcess:
    """A server; its standard output and standard error go to the file `log`."""

    process: ForkedProgram | subprocess.Popen[bytes]
    environment: Mapping[str, str]
    log: Path

    @property
    def url(self) -> str:
        """URL of the live page, without the trailing slash."""
        prefix = self.environment.get("SERVER_URL_PREFIX", "")
        return f"http://127.0.0.1:{self.environment['SERVER_PORT']}{'/' if prefix else ''}{prefix}"

    @property
    def metrics_url(self) -> str:
        """URL of its metrics."""
        return f"http://127.0.0.1:{self.environment['SERVER_METRICS_PORT']}/metrics"

    def get(self, path: str, **options: object) -> requests.Response:
        """Response to a GET request for a path below `url`."""
        return requests.get(f"{self.url}{path}", timeout=TIMEOUT_S, **options)  # type: ignore[arg-type]

    def samples(self) -> dict[str, float]:
        """Samples of its metrics by name with labels; retried while the server is overloaded."""
        responses: list[requests.Response] = []

        def is_served() -> bool:
            responses.append(requests.get(self.metrics_url, timeout=TIMEOUT_S))
            return responses[-1].status_code != HTTPStatus.SERVICE_UNAVAILABLE

        until(is_served)
        assert responses[-1].ok, responses[-1].text
        lines = [line for line in responses[-1].text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def is_up(self) -> bool:
        """Whether it responds."""
        with suppress(requests.ConnectionError):
            return self.get("/healthz").ok
        return False

    def logged(self) -> str:
        """Everything that it has logged."""
        return self.log.read_text()

    def wait_for_end(self) -> int:
        """Wait until it exits; returns its exit status."""
        return self.process.wait(timeout=TIMEOUT_S)


class _SilentHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: the application has an access log, and Werkzeug's contains queries."""


def with_contacts(settings: Settings) -> Settings:
    """Settings with a contact for the client `ecal`, and one for all others."""
    return replace(settings, experts=parsers.contacts("ecal*=ECAL on call, 16 1234; *=DQM on call, 16 0000"))


@contextmanager
def server_thread(application: "WSGIApplication", port: int = 0) -> Iterator[str]:
    """Serve an application in this process, at any free port by default.

    Yields its URL without the trailing slash.
    """
    server = make_server("127.0.0.1", port, application, threaded=True, request_handler=_SilentHandler)
    thread = threading.Thread(target=server.serve_forever, args=(_SHUTDOWN_POLL_S,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def with_fast_passwords(settings: Settings) -> Settings:
    """Settings with the same users, whose passwords are hashed at no cost."""
    users = {
        user: password if password.startswith(("scrypt:", "pbkdf2:")) else cheap_hash(password)
        for user, password in settings.dqm_cr_usernames.items()
    }
    return replace(settings, dqm_cr_usernames=users)


def cheap_hash(password: str) -> str:
    """A password as a setting of users may have it, hashed at no cost."""
    # Sessions are bound to the hash, so it must not change.
    salt = "salt"
    return f"pbkdf2:sha256:1${salt}${pbkdf2_hmac('sha256', password.encode(), salt.encode(), 1).hex()}"


@contextmanager
def served(settings: Settings, *, real_passwords: bool = False) -> Iterator[str]:
    """Serve the application and yield its URL with the prefix, without a trailing slash.

    `real_passwords`: hash passwords as in production, which is slow.
    """
    app = create_app(settings if real_passwords else with_fast_passwords(settings))
    with server_thread(app) as url:
        yield f"{url}{settings.server_url_prefix}"


def free_port() -> str:
    """A free port."""
    return str(supervisor.free_port())


@contextmanager
def server_process(
    environment: Mapping[str, str], *command: str, is_up: bool = True
) -> Iterator[ServerProcess]:
    """Start a server on a free port by `command`; by default it is forked from one that has imported it.

    Yields once it responds, or at once if not `is_up`.
    """
    given = {"SERVER_PORT": free_port(), **environment}
    log = Path(environment["LOG_DIR"]) / f"standard-error-{given['SERVER_PORT']}"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as file:
        process: ForkedProgram | subprocess.Popen[bytes] = (
            subprocess.Popen(command, cwd=ROOT, env=given, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
            if command
            else fork_server.start("server", (), given, file)
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
    """Ids of its worker processes."""
    return children_of(server.process.pid)


@contextmanager
def frozen(postgres: EmbeddedPostgres) -> Iterator[None]:
    """Stop all processes of PostgreSQL by SIGSTOP, so that it accepts connections and never responds."""
    processes = [postgres.process.pid, *children_of(postgres.process.pid)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            # The first process to continue may have ended others.
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def _wait_until_up(server: ServerProcess) -> None:
    until(lambda: server.is_up() or server.process.poll() is not None)
    assert server.process.poll() is None, server.logged()
