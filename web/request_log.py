"""Every request once, when its answer is sent: a line of the access log, and its part of the metrics.

A request gets an id of its own. It is in each line that is logged meanwhile and in the answer's
`X-Request-ID`, so that who complains of an answer can name it.
"""

import logging
import secrets
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from flask import Flask, request

import logs
from web import metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("access")

# Where a request's environment holds the rule that it matched; anything else a visitor may have made up.
ROUTE = "dqmsquare.route"

_ID_BYTES = 6
_NOT_MODIFIED = "304"
_UNMATCHED = "none"
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
        seen = _Request(environ, hides_query=environ.get("PATH_INFO", "").startswith(self._without_query))
        logs.request_id.set(seen.id)

        def start(status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None) -> object:
            seen.status = status[:3]
            return start_response(status, [*headers, ("X-Request-ID", seen.id)], exc_info)

        return _Answer(self._application(environ, start), seen)  # type: ignore[arg-type]


class _Request:
    """What is noted of a request until its answer is sent."""

    def __init__(self, environ: "WSGIEnvironment", *, hides_query: bool) -> None:
        self.id = secrets.token_hex(_ID_BYTES)
        self.status = "-"
        self.bytes_sent = 0
        self._environ = environ
        self._query = "" if hides_query else environ.get("QUERY_STRING", "")
        self._began_at = time.monotonic()

    def end(self) -> None:
        """Logs and counts it."""
        seconds = time.monotonic() - self._began_at
        route = self._environ.get(ROUTE, _UNMATCHED)
        metrics.requests.labels(route, self.status).inc()
        metrics.request_seconds.labels(route).observe(seconds)
        level = self._level()
        if not log.isEnabledFor(level):
            return
        log.log(
            level,
            "answered method=%s path=%s query=%s status=%s bytes=%d seconds=%.3f",
            logs.fact(self._environ.get("REQUEST_METHOD", "")),
            logs.fact(self._environ.get("PATH_INFO", "")),
            logs.fact(self._query),
            self.status,
            self.bytes_sent,
            seconds,
        )

    def _level(self) -> int:
        # Nobody looks for a page that had not changed, or for a probe that was content.
        path = self._environ.get("PATH_INFO", "")
        is_routine = self.status == _NOT_MODIFIED or (self.status == "200" and path.endswith(_PROBES))
        return logging.DEBUG if is_routine else logging.INFO


class _Answer:
    """An answer on its way; its end is noted when the server closes it, sent in full or not."""

    def __init__(self, body: Iterable[bytes], seen: _Request) -> None:
        self._body = body
        self._seen = seen

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
            self._seen.end()
            logs.request_id.set("")
