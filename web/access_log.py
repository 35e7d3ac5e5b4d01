"""Access log: one line and one sample per request, when its response has been sent.

Each request has an id. It is in every line that is logged for the request and in the response's
`X-Request-ID`, so that a user can report it.
"""

import logging
import random
import re
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING

from flask import Flask, request

from dqm2.redaction.redactor import get_redactor
from dqm2.redaction.rules_base import Placeholder
from dqmsquare_cfg import Settings
from runtime import logging_setup
from web import metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("access")

# Key of a request's record, in a WSGI environ and in the ASGI scope that it was made from.
RECORD = "dqmsquare.record"
ID_HEADER = "X-Request-ID"

_ID_BITS = 48
_UNMATCHED = "none"
_NO_STATUS = "-"
_NOT_MODIFIED = "304"
_SLASHES = re.compile("/+")
# More parameters than any page has are redacted as one.
_MAX_PARAMETERS = 32
# Characters of a path, and of a query, that are logged: redacting 4,000 takes up to 6 ms.
_MAX_LOGGED_CHARACTERS = 1000
_PLACEHOLDER = re.compile("|".join(map(re.escape, Placeholder)))
# Scripts repeat the same requests, and redacting one takes longer than responding to it from memory.
_CACHED_REQUESTS = 128
_MAX_CACHED_CHARACTERS = 500
# Polled every few seconds by machines; worth a line when they fail.
_PROBES = ("/healthz", "/readyz")

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class RequestRecord:
    """Logged and counted facts of a request. `route` is the rule that it matched, never the client's words.

    `has_left`: the client has closed the connection. `is_shed`: it is counted, and logged with others.
    """

    __slots__ = (
        "_path",
        "_query",
        "_started_at",
        "bytes_sent",
        "has_left",
        "id",
        "is_shed",
        "method",
        "route",
        "status",
    )

    def __init__(self, method: str, path: str, query: str) -> None:
        self.id = f"{random.getrandbits(_ID_BITS):012x}"
        self.method = method
        self.route = _UNMATCHED
        self.status = _NO_STATUS
        self.bytes_sent = 0
        self.has_left = self.is_shed = False
        self._path, self._query = path, query
        self._started_at = time.monotonic()

    def end(self, describe: "RequestDescriber") -> None:
        """Log and count the request."""
        seconds = time.monotonic() - self._started_at
        metrics.count_request(self.route, self.status, seconds)
        level = self._level()
        if not log.isEnabledFor(level):
            return
        log.log(
            level,
            "http_request %s status=%s bytes=%d seconds=%.3f",
            describe(self.method, self._path, self._query),
            self.status,
            self.bytes_sent,
            seconds,
            extra=logging_setup.REDACTED,
        )

    def _level(self) -> int:
        # Nobody looks for a page that had not changed, or for a probe that succeeded.
        is_routine = self.status == _NOT_MODIFIED or (self.status == "200" and self._path.endswith(_PROBES))
        return logging.DEBUG if is_routine or self.is_shed else logging.INFO


class RequestDescriber:
    """Redacted description of a request: its method, its path and the loggable part of its query.

    Nothing is logged of a query in the Control Room: it may name machines in full. Each parameter is redacted
    by itself, and of a value that changes only the placeholders are kept: an open quote, bracket or key block
    in it would hide the rest of the line. Parameters beyond the limit are omitted as a whole: a rule may not
    recognize a part of one.
    """

    def __init__(self, settings: Settings) -> None:
        prefixes = {settings.server_url_prefix, settings.server_former_url_prefix}
        self._hidden_below = tuple(f"{prefix}/cr/" for prefix in prefixes)
        self._redact = get_redactor(settings.known_hosts, settings.redaction_allowed_hosts)
        self._describe_cached = lru_cache(_CACHED_REQUESTS)(self._describe)

    def __call__(self, method: str, path: str, query: str) -> str:
        """Description as `key=value`."""
        is_short = len(method) + len(path) + len(query) <= _MAX_CACHED_CHARACTERS
        return (self._describe_cached if is_short else self._describe)(method, path, query)

    def _describe(self, method: str, path: str, query: str) -> str:
        shown_path = path if len(path) <= _MAX_LOGGED_CHARACTERS else Placeholder.OMITTED
        values = {"method": method, "path": shown_path, "query": self._filter_query(path, query)}
        return self._redact(
            " ".join(f"{key}={logging_setup.quote_value(value)}" for key, value in values.items())
        )

    def _filter_query(self, path: str, query: str) -> str:
        # Several slashes are one, as for the routes.
        if _SLASHES.sub("/", path).startswith(self._hidden_below):
            return ""
        if len(query) > _MAX_LOGGED_CHARACTERS:
            query = query[: query.rfind("&", 0, _MAX_LOGGED_CHARACTERS + 1) + 1] + Placeholder.OMITTED
        return "&".join(map(self._redact_parameter, query.split("&", _MAX_PARAMETERS)))

    def _redact_parameter(self, parameter: str) -> str:
        redacted = self._redact(parameter)
        if redacted == parameter:
            return parameter
        name, separator, value = redacted.partition("=") if "=" in redacted else ("", "", redacted)
        return f"{name}{separator}{''.join(_PLACEHOLDER.findall(value))}"


def init_app(app: Flask, settings: Settings) -> None:
    """Record every request of the application."""
    app.before_request(_record_route)
    app.wsgi_app = _Middleware(app.wsgi_app, RequestDescriber(settings))  # type: ignore[method-assign]


def current_record() -> RequestRecord:
    """Record of the request that Flask is working on."""
    record: RequestRecord = request.environ[RECORD]
    return record


def client_has_left() -> bool:
    """Whether the client of the request that Flask is working on has closed the connection."""
    return current_record().has_left


def _record_route() -> None:
    if request.url_rule is not None:
        current_record().route = request.url_rule.rule


class _Middleware:
    """WSGI middleware that records requests, unless the ASGI application around it does."""

    def __init__(self, application: "WSGIApplication", describe: RequestDescriber) -> None:
        self._application = application
        self._describe = describe

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if "asgi.scope" in environ:
            record = environ[RECORD] = environ["asgi.scope"][RECORD]
            # The body ends where the client's does, whether or not its length was declared.
            environ["wsgi.input_terminated"] = True
            return _until_left(self._application(environ, start_response), record)
        return self._recorded(environ, start_response)

    def _recorded(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        record = environ[RECORD] = RequestRecord(
            environ.get("REQUEST_METHOD", ""), environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
        )
        logging_setup.request_id.set(record.id)

        def start(status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None) -> object:
            record.status = status[:3]
            return start_response(status, [*headers, (ID_HEADER, record.id)], exc_info)

        body = self._application(environ, start)  # type: ignore[arg-type]
        return _RecordedBody(body, record, self._describe)


def _until_left(body: Iterable[bytes], record: RequestRecord) -> Iterator[bytes]:
    """Body of a response until its end, or until the client has left."""
    try:
        for chunk in body:
            if record.has_left:
                return
            yield chunk
    finally:
        _close(body)


class _RecordedBody:
    """Body of a response, recorded when the server closes it, whether or not all of it was sent."""

    def __init__(self, body: Iterable[bytes], record: RequestRecord, describe: RequestDescriber) -> None:
        self._body = body
        self._record = record
        self._describe = describe

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            self._record.bytes_sent += len(chunk)
            yield chunk

    def close(self) -> None:
        """Close the body."""
        try:
            _close(self._body)
        finally:
            self._record.end(self._describe)
            logging_setup.request_id.set("")


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
