"""Who gets a worker's threads: control commands wait in line on threads of their own, and never on a page's.

A command holds its thread until it is its turn and DQM² has answered, which can be minutes. So a worker has
more threads than it answers ordinary requests with at a time, and what is over is left to commands.
"""

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.wsgi import ClosingIterator

from dqmsquare_cfg import Settings
from web import metrics
from web.cache import response_cache
from web.control_room.command_execution import MAX_QUEUED
from web.serving import busy

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# How long a request waits for others before it is refused.
_LONGEST_WAIT_S = 1.0
# However much there is to do, the process lives.
_PROBE = "/healthz"


def threads(settings: Settings) -> int:
    """How many threads a worker has."""
    return settings.server_threads + (MAX_QUEUED if settings.cr_enabled else 0)


class Ordinary:
    """The application behind it, with `SERVER_THREADS` ordinary requests in it at a time.

    What is kept takes no time, and so no place.
    """

    def __init__(self, application: Flask, settings: Settings) -> None:
        self._application: WSGIApplication = application
        self._kept = response_cache.of(application)
        self._places = threading.BoundedSemaphore(settings.server_threads)
        self._commands = f"{settings.server_url_prefix}/cr/exe"

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if self._needs_no_place(environ):
            return self._application(environ, start_response)
        if not self._places.acquire(timeout=_LONGEST_WAIT_S):
            metrics.http_requests.labels("none", "503").inc()
            return busy.answer(start_response)
        answer = None
        try:
            answer = self._application(environ, start_response)
        finally:
            if answer is None:
                self._places.release()
        return ClosingIterator(answer, self._places.release)

    def _needs_no_place(self, environ: "WSGIEnvironment") -> bool:
        path = environ["PATH_INFO"]
        if path == self._commands or path.endswith(_PROBE):
            return True
        encodings = environ.get("HTTP_ACCEPT_ENCODING", "")
        return self._kept.find(path, environ["QUERY_STRING"], encodings) is not None
