"""gunicorn as the server runs it: uvicorn workers, its log in ours, metrics on a port of their own.

The ports are opened here and handed over, so that the message about one that is taken names its setting. Both
lead to the same workers; the port that a request came in by decides what answers it.
"""

import errno
import gc
import logging
import os
import resource
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker
from prometheus_client import multiprocess
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]

import dqmsquare_cfg
from dqmsquare_cfg import SdNotify, Settings
from runtime import die_with_parent, healthcheck, malloc, systemd_notify
from web import databases, metrics
from web.asgi import MirrorApplication
from web.errors import DatabaseUnavailable
from web.http_protocol import HttpProtocol

log = logging.getLogger(__name__)

_BACKLOG = 4096
# A viewer keeps a connection or two open; each is a file.
_MAX_CONNECTIONS = 8192
_OTHER_FILES = 512
# Longer than the time between a page's polls.
_KEEP_ALIVE_S = 20
# With what gunicorn needs itself, below the 5 s within which the server has to be gone.
_GRACEFUL_TIMEOUT_S = 3
_OLDEST_GENERATION = 2


class MirrorWorker(UvicornWorker):  # type: ignore[misc]
    """uvicorn's worker with the server's protocol and limits."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": HttpProtocol,
        "ws": "none",
        "lifespan": "off",
        "interface": "asgi3",
        "access_log": False,
        "server_header": False,
        # Headers of a client determine neither its address nor its scheme.
        "proxy_headers": False,
        "timeout_graceful_shutdown": _GRACEFUL_TIMEOUT_S,
    }


class _GunicornLog(Logger):
    """gunicorn's log in ours: no handlers and no access log of its own."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self.error_log.propagate = True

    @property
    def access_log_enabled(self) -> bool:
        return False


class _Server(BaseApplication):
    """The application under gunicorn.

    `metrics_directory` is where the workers count, if metrics are served; `manager` is notified of health.
    """

    def __init__(
        self,
        settings: Settings,
        make_app: Callable[[], Flask],
        sockets: Iterable[socket.socket],
        metrics_directory: Path | None,
        manager: SdNotify | None,
    ) -> None:
        self._settings = settings
        self._manager = manager
        self._make_app = make_app
        self._sockets = tuple(sockets)
        self._metrics_directory = metrics_directory
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        options: dict[str, Any] = {
            "bind": [f"fd://{listening.fileno()}" for listening in self._sockets],
            "worker_class": MirrorWorker,
            "workers": settings.server_workers,
            "backlog": _BACKLOG,
            "keepalive": _KEEP_ALIVE_S,
            "graceful_timeout": _GRACEFUL_TIMEOUT_S,
            "worker_tmp_dir": str(settings.tmp_dir),
            "logger_class": _GunicornLog,
            "proc_name": "dqmsquare-mirror",
            "control_socket_disable": True,
            "post_fork": _after_fork,
            "child_exit": self._forget_worker,
            "on_exit": self._clean_up,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> MirrorApplication:
        """Make a worker's application. A database that is too new to be read ends the whole server."""
        databases.enforce_response_timeouts()
        if self._metrics_directory is not None:
            metrics.reserve(self._metrics_directory)
        app = self._make_app()
        _quiet_uvicorn()
        _freeze_objects()
        gc.callbacks.append(_return_freed_memory)
        by_cluster = databases.of_app(app)
        for database in by_cluster.values():
            database.on_schema_too_new(_exit)
            database.start_listening()
            with suppress(DatabaseUnavailable):
                database.check_schema()
        # Healthy is what answers on the clients' port, whichever worker it is.
        systemd_notify.start(self._manager, self._answers)
        if self._metrics_directory is None:
            return MirrorApplication(app, self._settings)
        endpoint = metrics.MetricsEndpoint(self._metrics_directory, by_cluster)
        return MirrorApplication(app, self._settings, endpoint)

    def _answers(self) -> bool:
        return healthcheck.get_status(self._settings.server_host, self._settings.server_port) is not None

    def _forget_worker(self, _arbiter: Arbiter, worker: Worker) -> None:
        if self._metrics_directory is not None:
            multiprocess.mark_process_dead(worker.pid, str(self._metrics_directory))  # type: ignore[no-untyped-call]

    def _clean_up(self, _arbiter: Arbiter) -> None:
        if self._metrics_directory is not None:
            shutil.rmtree(self._metrics_directory, ignore_errors=True)


def serve(settings: Settings, make_app: Callable[[], Flask]) -> None:
    """Serve the application that `make_app` makes in each worker, until a signal ends the program.

    Exits with status 2 and a line that names the setting if a port or a directory can't be used.
    """
    sockets = [_listen(settings.server_host, settings.server_port, "SERVER_PORT")]
    _prepare_directory(settings.tmp_dir)
    _raise_file_limit()
    metrics_directory = None
    if settings.server_metrics_port:
        # Fatal as well: a server without monitoring would be noticed when it is too late.
        sockets.append(_listen(settings.server_host, settings.server_metrics_port, "SERVER_METRICS_PORT"))
        metrics_directory = metrics.share(settings.tmp_dir)
    log.info(
        "listening address=%s port=%d metrics_port=%d workers=%d threads=%d",
        settings.server_host,
        settings.server_port,
        settings.server_metrics_port,
        settings.server_workers,
        settings.server_threads,
    )
    # Taken here, or gunicorn would report itself ready before a worker is.
    manager = dqmsquare_cfg.read_sd_notify()
    # Before the fork: a worker's collections would write to 12 MB that it shares with the others.
    _freeze_objects()
    _Server(settings, make_app, sockets, metrics_directory, manager).run()


def _after_fork(arbiter: Arbiter, _worker: Worker) -> None:
    """Have the kernel end a worker whose server was killed: uvicorn's does not watch its parent."""
    die_with_parent.set_parent_death_signal(arbiter.pid, signal.SIGKILL)


def _quiet_uvicorn() -> None:
    """Log uvicorn's errors alone: its warnings are about malformed requests, as many as clients send."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.access").propagate = False


def _raise_file_limit() -> None:
    """Ask the system for as many open files as connections may need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _prepare_directory(directory: Path) -> None:
    """Make the directory for files of the run time, which every worker needs."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        dqmsquare_cfg.exit_with_errors([f"TMP_DIR can't be used: {directory}: {error.strerror}"])


def _listen(host: str, port: int, setting: str) -> socket.socket:
    try:
        family, _kind, _protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        reason = f"SERVER_HOST is {host!r}, which is no address here: {error.strerror}"
        dqmsquare_cfg.exit_with_errors([reason])
    try:
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno == errno.EADDRNOTAVAIL:
            dqmsquare_cfg.exit_with_errors([f"SERVER_HOST is {host!r}, which is no address here: {reason}"])
        dqmsquare_cfg.exit_with_errors([f"{setting} is {port}, which can't be listened on: {reason}"])


def _freeze_objects() -> None:
    """Leave the objects that exist now out of garbage collections.

    A page of a thousand jobs makes ten thousand objects with hardly a cycle. By default Python would search
    all objects while it makes one page in ten, which takes longer than the page.
    """
    gc.collect()
    gc.freeze()


def _return_freed_memory(phase: str, info: Mapping[str, int]) -> None:
    """Callback of the garbage collector. A worker keeps 2 MB less of what large responses needed."""
    if phase == "stop" and info["generation"] == _OLDEST_GENERATION:
        malloc.return_freed_memory()


def _exit(sentence: str) -> None:
    """End the whole server: gunicorn starts no other worker after this exit status."""
    log.critical("ended: %s Start a newer release of the mirror.", sentence)
    logging.shutdown()
    os._exit(Arbiter.APP_LOAD_ERROR)
