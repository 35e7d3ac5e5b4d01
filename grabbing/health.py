"""Health of a grabber: the liveness of its main loop, and `/metrics`, `/healthz` and `/readyz` over HTTP.

A loop that hangs can only be detected from another thread: by Kubernetes' probes and Prometheus over HTTP,
and by systemd's watchdog (`runtime/systemd_notify.py`).
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

import prometheus_client
from prometheus_client.exposition import ThreadingWSGIServer

from dqmsquare_cfg import Cluster
from grabbing import metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATHS = ("/metrics", "/healthz", "/readyz")
# Well above the longest iteration of a healthy loop: the database cancels a statement after 30 s, and other
# long work checks in every second. An unnecessary restart costs more than a late one.
HUNG_AFTER_S = 180.0
# Each connection has a thread; one that sends no request in time is closed.
_IDLE_CONNECTION_S = 10


class Liveness:
    """Liveness and leadership of one grabber; `clock` returns seconds, as `time.monotonic` does."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        self.cluster = cluster
        self._clock = clock
        self._ticked_at_s: float | None = None
        self._is_leader = False

    def tick(self) -> None:
        """Report that the loop ran, or that a long piece of work makes progress."""
        self._ticked_at_s = self._clock()
        metrics.last_loop_timestamp.labels(self.cluster.value).set_to_current_time()

    def set_leader(self, is_leader: bool) -> None:  # noqa: FBT001 - the one value to set
        """Report whether this grabber is the one that mirrors the cluster."""
        self._is_leader = is_leader
        metrics.is_leader.labels(self.cluster.value).set(is_leader)

    def liveness_problem(self) -> str | None:
        """A sentence if the loop hangs or has not run yet; None if it is alive."""
        if self._ticked_at_s is None:
            return "The main loop has not run yet."
        silent_s = self._clock() - self._ticked_at_s
        if silent_s > HUNG_AFTER_S:
            return f"The main loop has not run for {silent_s:.0f} s."
        return None

    def readiness_problem(self) -> str | None:
        """A sentence unless the grabber is alive and the leader, for which it needs its database."""
        if not self._is_leader:
            return f"This grabber does not mirror the {self.cluster} cluster."
        return self.liveness_problem()


def serve(host: str, port: int, liveness: Liveness) -> None:
    """Serve the endpoints on daemon threads. Raises OSError if the port cannot be bound."""
    family, _kind, _protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]

    class Server(ThreadingWSGIServer):
        address_family = family

    server = make_server(
        str(address[0]), port, HealthEndpoints(liveness), Server, handler_class=_SilentHandler
    )
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()


class HealthEndpoints:
    """WSGI application: 200 on `/healthz` if alive and on `/readyz` if ready, else 503 with the reason."""

    def __init__(self, liveness: Liveness) -> None:
        self._liveness = liveness
        self._metrics: WSGIApplication = prometheus_client.make_wsgi_app()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return self._metrics(environ, start_response)
            case "/healthz":
                return _respond(self._liveness.liveness_problem(), start_response)
            case "/readyz":
                return _respond(self._liveness.readiness_problem(), start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [f"Not found; available: {', '.join(PATHS)}\n".encode()]


class _SilentHandler(WSGIRequestHandler):
    """Request handler without a log line per request: probes come every few seconds."""

    timeout = _IDLE_CONNECTION_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


def _respond(problem: str | None, start_response: "StartResponse") -> Iterable[bytes]:
    status = "503 Service Unavailable" if problem else "200 OK"
    start_response(status, [("Content-Type", "text/plain"), ("Cache-Control", "no-store")])
    return [f"{problem or 'ok'}\n".encode()]
