"""Every request once, when its answer is sent: a line of the access log, and its part of the metrics.

A request gets an id of its own. It is in each line that is logged meanwhile and in the answer's
`X-Request-ID`, so that who complains of an answer can name it.
"""

import logging
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from flask import Flask, request

from runtime import logging_setup
from web import metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("access")

# Where a request's environment holds the rule that it matched; anything else a visitor may have made up.
ROUTE = "dqmsquare.route"
ID_HEADER = "X-Request-ID"
NOT_MODIFIED = "304"

_ID_BYTES = 6
_UNMATCHED = "none"
_SLASHES = re.compile("/+")
# Asked every few seconds by machines; worth a line when they fail.
_PROBES = ("/healthz", "/readyz")

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


def init_app(app: Flask, prefix: str) -> None:
    """Sees every request of the application. The query is left out of the log below `{prefix}/cr/`."""
    app.before_request(_note_route)
    app.wsgi_app = _Seen(app.wsgi_app, f"{prefix}/cr/")  # type: ignore[method-assign]


def _note_route() -> None:
    if request.url_rule is not None:
        request.environ[ROUTE] = request.url_rule.rule


class _Seen:
    """The application behind it, each of its answers seen to its end."""

    def __init__(self, application: "WSGIApplication", without_query: str) -> None:
        self._application = application
        self._without_query = without_query

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        # As it is taken for a route: several slashes are one.
        is_without_query = _SLASHES.sub("/", path).startswith(self._without_query)
        query = "" if is_without_query else environ.get("QUERY_STRING", "")
        seen = SeenRequest(environ.get("REQUEST_METHOD", ""), path, query)
        logging_setup.request_id.set(seen.id)

        def start(status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None) -> object:
            seen.status = status[:3]
            return start_response(status, [*headers, (ID_HEADER, seen.id)], exc_info)

        return _Answer(self._application(environ, start), seen, environ)  # type: ignore[arg-type]


class SeenRequest:
    """What is noted of a request until its answer is sent; `id` is what the answer calls it."""

    def __init__(self, method: str, path: str, query: str) -> None:
        self.id = secrets.token_hex(_ID_BYTES)
        self.status = "-"
        self.bytes_sent = 0
        self._method, self._path, self._query = method, path, query
        self._began_at = time.monotonic()

    def end(self, route: str) -> None:
        """Logs and counts it."""
        seconds = time.monotonic() - self._began_at
        metrics.http_requests.labels(route, self.status).inc()
        metrics.http_request_duration.labels(route).observe(seconds)
        level = self._level()
        if not log.isEnabledFor(level):
            return
        log.log(
            level,
            "http_request method=%s path=%s query=%s status=%s bytes=%d seconds=%.3f",
            logging_setup.quote_value(self._method),
            logging_setup.quote_value(self._path),
            logging_setup.quote_value(self._query),
            self.status,
            self.bytes_sent,
            seconds,
        )

    def _level(self) -> int:
        # Nobody looks for a page that had not changed, or for a probe that was content.
        is_routine = self.status == NOT_MODIFIED or (self.status == "200" and self._path.endswith(_PROBES))
        return logging.DEBUG if is_routine else logging.INFO


class _Answer:
    """An answer on its way; its end is noted when the server closes it, sent in full or not."""

    def __init__(self, body: Iterable[bytes], seen: SeenRequest, environ: "WSGIEnvironment") -> None:
        self._body = body
        self._seen = seen
        self._environ = environ

    def __iter__(self) -> Iterator[bytes]:
        for part in self._body:
            self._seen.bytes_sent += len(part)
            yield part

    def close(self) -> None:
        """Closes what is behind it, as WSGI has it."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._seen.end(self._environ.get(ROUTE, _UNMATCHED))
            logging_setup.request_id.set("")
