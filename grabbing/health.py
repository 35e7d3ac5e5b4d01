"""A grabber's `/metrics`, `/healthz` and `/readyz`, on a port of its own.

`/healthz` is 200 while the loop turns, `/readyz` while the grabber has its cluster too; otherwise both are
503 and say why.
"""

import socket
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

import prometheus_client
from prometheus_client.exposition import ThreadingWSGIServer

from grabbing.liveness import Pulse

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATHS = METRICS, ALIVE, READY = ("/metrics", "/healthz", "/readyz")


def serve(host: str, port: int, pulse: Pulse) -> None:
    """Answers on a port, from threads that end with the program. Raises OSError if it can't be had."""
    family, _kind, _protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]

    class Server(ThreadingWSGIServer):
        address_family = family

    server = make_server(str(address[0]), port, Endpoints(pulse), Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()


class Endpoints:
    """A WSGI application that answers what is asked of a grabber and nothing else."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._metrics: WSGIApplication = prometheus_client.make_wsgi_app()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == METRICS:
            return self._metrics(environ, start_response)
        if path == ALIVE:
            return _answer(self._pulse.why_not_alive(), start_response)
        if path == READY:
            return _answer(self._pulse.why_not_ready(), start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [f"Only {', '.join(PATHS)} are here.\n".encode()]


class _Quiet(WSGIRequestHandler):
    """Probes ask every few seconds: no line each."""

    # Who does not ask in time goes; each has a thread.
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Says nothing."""


def _answer(trouble: str | None, start_response: "StartResponse") -> Iterable[bytes]:
    status = "503 Service Unavailable" if trouble else "200 OK"
    start_response(status, [("Content-Type", "text/plain"), ("Cache-Control", "no-store")])
    return [f"{trouble or 'ok'}\n".encode()]
