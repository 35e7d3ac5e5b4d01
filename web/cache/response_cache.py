"""Answers as they went out, given again to whoever comes to the same address, as long as they hold.

A page that has not changed costs a look into a table: no query, no template, no Flask. One that has is made
once, however many viewers ask for it at the same time. What it stands on is noted while it is made
(`web/cache/dependencies.py`); replicas and workers each keep their own.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_etags, unquote_etag
from werkzeug.wsgi import ClosingIterator

from web import metrics
from web.access_log import ROUTE
from web.cache import dependencies
from web.cache.dependencies import CacheDependencies
from web.cache.single_flight import SingleFlight
from web.responses import SERVER_TIME_HEADER, server_time

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_EXTENSION = "mirror_kept_answers"
# Of a worker's memory of 90 MB this may take so much; what was used longest ago goes first.
_MOST_BYTES = 4_000_000
_LARGEST_BYTES = 2_000_000
# Its key, its headers and what it stands on.
_BYTES_BESIDES = 3_000
_OK = "200 OK"
NOT_MODIFIED = "304 Not Modified"
# What makes an answer a 304, which is decided here instead.
_CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE")
# What an answer may vary by: only that is in its key.
_MAY_VARY_BY = (None, "Accept-Encoding")
# Headers of the content, which a 304 doesn't have.
_OF_CONTENT = ("content-type", "content-length", "content-encoding")

_Headers = list[tuple[str, str]]
# Path, query, and in which encodings it may come.
_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it went out. `tag` is its entity tag without quotes, if it has one.

    `is_kept`: whether it may be given to others, as long as its grounds hold.
    """

    status: str
    headers: _Headers
    content: bytes
    tag: str | None
    route: Any
    is_kept: bool
    grounds: CacheDependencies

    def send(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        """Gives it to a request: nothing but its headers, if the request knows the content."""
        environ[ROUTE] = self.route
        if self.is_known_to(environ.get("HTTP_IF_NONE_MATCH")):
            start(NOT_MODIFIED, self.headers_of_unchanged())
            return ()
        start(self.status, [*self.headers, (SERVER_TIME_HEADER, server_time())])
        return (self.content,)

    def is_known_to(self, asked: str | None) -> bool:
        """Whether a request has the content already, by the entity tags that it names (`If-None-Match`)."""
        if self.tag is None or asked is None:
            return False
        # A browser sends the one that it was given.
        return unquote_etag(asked)[0] == self.tag or parse_etags(asked).contains_weak(self.tag)

    def headers_of_unchanged(self) -> _Headers:
        """The headers that a request gets which has the content already."""
        lasting = [header for header in self.headers if header[0].lower() not in _OF_CONTENT]
        return [*lasting, (SERVER_TIME_HEADER, server_time())]


class KeptAnswers:
    """The application behind it, whose kept answers are made once."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._application: WSGIApplication = app.wsgi_app
        self._flights: SingleFlight[Answer] = SingleFlight()
        self._answers: OrderedDict[_Key, Answer] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "GET":
            return self._application(environ, start_response)
        key = (environ["PATH_INFO"], environ["QUERY_STRING"], environ.get("HTTP_ACCEPT_ENCODING", ""))
        answer = self.find(*key)
        if answer is not None:
            metrics.response_cache_requests.labels("hit").inc()
            return answer.send(environ, start_response)
        if not self._is_of_kept_view(environ):
            return self._application(environ, start_response)
        return self._make(key, environ).send(environ, start_response)

    def find(self, path: str, query: str, encodings: str) -> Answer | None:
        """The answer to who asks for this, if there is one that holds."""
        key = (path, query, encodings)
        with self._lock:
            answer = self._answers.get(key)
            if answer is not None:
                self._answers.move_to_end(key)
        return answer if answer is not None and answer.grounds.are_valid() else None

    def _is_of_kept_view(self, environ: "WSGIEnvironment") -> bool:
        try:
            endpoint, _values = self._app.url_map.bind_to_environ(environ).match()
        except HTTPException:
            return False
        return dependencies.is_cached_view(
            self._app.view_functions[endpoint], dict(parse_qsl(environ["QUERY_STRING"]))
        )

    def _make(self, key: _Key, environ: "WSGIEnvironment") -> Answer:
        """Makes the answer, or waits for who is making it, as far as that is good for this request too."""
        mine: list[Answer] = []

        def make_once() -> Answer:
            # Another may have made it since this request has looked.
            found = self.find(*key)
            if found is not None:
                return found
            answer = self._made(environ)
            mine.append(answer)
            if answer.is_kept:
                self._keep(key, answer)
            return answer

        while True:
            answer = self._flights.call(key, make_once)
            if mine:
                return answer
            if not answer.is_kept:
                return self._made(environ)
            if answer.grounds.are_valid():
                metrics.response_cache_requests.labels("hit").inc()
                return answer

    def _made(self, environ: "WSGIEnvironment") -> Answer:
        metrics.response_cache_requests.labels("miss").inc()
        asked = {name: value for name, value in environ.items() if name not in _CONDITIONS}
        told: list[Any] = []
        with dependencies.collected() as stands_on:
            body = self._application(asked, lambda *given: told.extend(given))  # type: ignore[arg-type]
            with closing(ClosingIterator(body)):
                content = b"".join(body)
        status, headers, *_ = told
        named = dict(headers)
        tag, _is_weak = unquote_etag(named.get("ETag"))
        is_for_all = "Set-Cookie" not in named and named.get("Vary") in _MAY_VARY_BY
        is_kept = status == _OK and tag is not None and stands_on.is_complete and is_for_all
        return Answer(
            status=status,
            headers=[header for header in headers if header[0] != SERVER_TIME_HEADER],
            content=content,
            tag=tag,
            route=asked.get(ROUTE),
            is_kept=is_kept,
            grounds=stands_on,
        )

    def _keep(self, key: _Key, answer: Answer) -> None:
        if len(answer.content) > _LARGEST_BYTES:
            return
        with self._lock:
            self._forget(key)
            self._answers[key] = answer
            self._bytes += len(answer.content) + _BYTES_BESIDES
            while self._bytes > _MOST_BYTES:
                self._forget(next(iter(self._answers)))

    def _forget(self, key: _Key) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self._bytes -= len(answer.content) + _BYTES_BESIDES


def init_app(app: Flask) -> None:
    """Keeps the answers of the application's views that are marked as kept."""
    app.extensions[_EXTENSION] = app.wsgi_app = KeptAnswers(app)  # type: ignore[method-assign]


def of(app: Flask) -> KeptAnswers:
    """What an application keeps."""
    kept: KeptAnswers = app.extensions[_EXTENSION]
    return kept
