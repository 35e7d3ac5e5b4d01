"""How the application is served: gunicorn with threads, its log in ours, its metrics on a port of their own.

The ports are opened here and handed over, so that one that is taken is told by the name of its setting.
Both lead to the same workers; which one a request came in by decides what answers it.
"""

import gc
import logging
import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker
from prometheus_client import multiprocess

import dqmsquare_cfg
from dqmsquare_cfg import SdNotify, Settings
from runtime import healthcheck, systemd_notify
from web import databases, metrics
from web.cache import response_cache
from web.cache.response_cache import KeptAnswers
from web.errors import DatabaseUnavailable
from web.serving import thread_places, unchanged
from web.serving.request_head import RequestHead
from web.serving.unchanged import Unchanged
from web.serving.worker import PatientWorker

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

_BACKLOG = 4096
# A viewer keeps a connection or two open; each is a file.
_CONNECTIONS = 4096
_FILES_BESIDES = 512
_FEWEST_CONNECTIONS = 256
# An address with the most that a view can have in it fits; a header of CMSWEB's with a whole certificate too.
_LONGEST_REQUEST_LINE = 4094
_MOST_HEADERS = 64
_LONGEST_HEADER = 8190
# A connection is kept for longer than a page's polls are apart.
_KEEP_ALIVE_S = 20
# Together with what gunicorn needs besides, below the 5 s within which the server has to be gone.
_GRACE_S = 3
# So many more objects than before make Python look for garbage among the young ones.
_OBJECTS_A_LOOK = 20_000


class _GunicornLog(Logger):
    """Gunicorn's log in ours: no handlers of its own, no access log of its own."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self.error_log.propagate = True

    @property
    def access_log_enabled(self) -> bool:
        return False


class _Server(BaseApplication):
    """The application under gunicorn.

    `shared` is the folder of the workers' metrics, if any are served; `manager` who is told of its health.
    """

    def __init__(
        self,
        settings: Settings,
        make_app: Callable[[], Flask],
        sockets: Iterable[socket.socket],
        shared: Path | None,
        manager: SdNotify | None,
    ) -> None:
        self._settings = settings
        self._manager = manager
        self._make_app = make_app
        self._sockets = tuple(sockets)
        self._shared = shared
        self._kept: KeptAnswers | None = None
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        options: dict[str, Any] = {
            "bind": [f"fd://{listening.fileno()}" for listening in self._sockets],
            "worker_class": PatientWorker,
            "workers": settings.server_workers,
            "threads": thread_places.threads(settings),
            "worker_connections": _take_connections(),
            "limit_request_line": _LONGEST_REQUEST_LINE,
            "limit_request_fields": _MOST_HEADERS,
            "limit_request_field_size": _LONGEST_HEADER,
            "keepalive": _KEEP_ALIVE_S,
            "graceful_timeout": _GRACE_S,
            "worker_tmp_dir": str(settings.tmp_dir),
            "logger_class": _GunicornLog,
            "proc_name": "dqmsquare-mirror",
            "control_socket_disable": True,
            # No header of a visitor says who he is or by which scheme he came.
            "forwarded_allow_ips": "",
            "child_exit": self._forget_worker,
            "on_exit": self._clear_away,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> "WSGIApplication":  # type: ignore[override]
        """The application in a worker. Where it can't read a database because that is newer, it ends all."""
        databases.enforce_response_timeouts()
        app = self._make_app()
        self._kept = response_cache.of(app)
        _collect_rarely()
        for database in databases.of_app(app).values():
            database.on_schema_too_new(_end)
            database.start_listening()
            with suppress(DatabaseUnavailable):
                database.check_schema()
        # Well is who answers on the port where visitors come in, by whichever worker.
        systemd_notify.start(self._manager, self._answers)
        answering = thread_places.Ordinary(app, self._settings)
        if self._shared is None:
            return answering
        endpoint = metrics.MetricsEndpoint(self._shared, databases.of_app(app))
        return _ByPort(answering, endpoint, self._settings.server_metrics_port)

    def has_answer(self, head: RequestHead) -> bool:
        """Whether this worker has the answer to a request, so that no thread is needed to make it."""
        return self._kept is not None and self._kept.find(head.path, head.query, head.encodings) is not None

    def unchanged(self, head: RequestHead, port: int) -> Unchanged | None:
        """What to tell who asked at a port for what he already has; `None` if it is another answer."""
        if self._kept is None or port == self._settings.server_metrics_port:
            return None
        return unchanged.answer(self._kept, head)

    def _answers(self) -> bool:
        return healthcheck.get_status(self._settings.server_host, self._settings.server_port) is not None

    def _forget_worker(self, _arbiter: Arbiter, worker: ThreadWorker) -> None:
        if self._shared is not None:
            multiprocess.mark_process_dead(worker.pid, str(self._shared))  # type: ignore[no-untyped-call]

    def _clear_away(self, _arbiter: Arbiter) -> None:
        if self._shared is not None:
            shutil.rmtree(self._shared, ignore_errors=True)


class _ByPort:
    """What came in by the metrics port gets metrics, everything else the application."""

    def __init__(
        self, application: "WSGIApplication", endpoint: "WSGIApplication", metrics_port: int
    ) -> None:
        self._application = application
        self._endpoint = endpoint
        self._metrics_port = str(metrics_port)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        # The port of the socket that took the connection: gunicorn does not ask the Host header for it.
        is_for_metrics = environ["SERVER_PORT"] == self._metrics_port
        return (self._endpoint if is_for_metrics else self._application)(environ, start_response)


def serve(settings: Settings, make_app: Callable[[], Flask]) -> None:
    """Serves the application that `make_app` makes in each worker, until a signal ends the program.

    A port that can't be listened on, or a folder that can't be used, ends it with status 2 and a line that
    names its setting.
    """
    sockets = [_listen(settings.server_host, settings.server_port, "SERVER_PORT")]
    _take_folder(settings.tmp_dir)
    shared = None
    if settings.server_metrics_port:
        # Refused like the other one: a server that goes on unwatched is found out when it is too late.
        sockets.append(_listen(settings.server_host, settings.server_metrics_port, "SERVER_METRICS_PORT"))
        shared = metrics.share(settings.tmp_dir)
    log.info(
        "listening address=%s port=%d metrics_port=%d workers=%d threads=%d",
        settings.server_host,
        settings.server_port,
        settings.server_metrics_port,
        settings.server_workers,
        settings.server_threads,
    )
    # Taken here, or gunicorn would call itself ready before a worker is.
    manager = dqmsquare_cfg.read_sd_notify()
    _Server(settings, make_app, sockets, shared, manager).run()


def _take_connections() -> int:
    """How many connections a worker may have open; as many files are asked of the system as it gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _CONNECTIONS + _FILES_BESIDES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(_FEWEST_CONNECTIONS, wanted - _FILES_BESIDES)


def _take_folder(folder: Path) -> None:
    """Makes the folder of what is made at run time, or refuses it: no worker lives without a file there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        dqmsquare_cfg.exit_with_errors([f"TMP_DIR can't be used: {folder}: {error.strerror}"])


def _listen(host: str, port: int, setting: str) -> socket.socket:
    try:
        family, _kind, _protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        dqmsquare_cfg.exit_with_errors(
            [f"SERVER_HOST is {host!r}, which is no address here: {error.strerror}"]
        )
    try:
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        dqmsquare_cfg.exit_with_errors([f"{setting} is {port}, which can't be listened on: {reason}"])


def _collect_rarely() -> None:
    """Has Python look for garbage that refers to itself less often, and not in what is there from the start.

    A page of a thousand jobs makes ten thousand objects, hardly any of which is such; by itself Python looks
    through all that there is in the midst of one page in ten, which takes longer than to make the page.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_A_LOOK)


def _end(sentence: str) -> None:
    """Ends the whole server: the status by which gunicorn knows that another worker would do no better."""
    log.critical("ended: %s Start a newer release of the mirror.", sentence)
    logging.shutdown()
    os._exit(Arbiter.APP_LOAD_ERROR)
