"""ASGI application of the server: response cache and limits around the Flask application.

The event loop reads requests and sends responses. It handles cached responses, refusals and `/healthz`
itself. All other requests wait in a queue (`web/limits.py`) and occupy a thread only while Flask processes
them. A response that its client reads slowly is buffered (`web/spool.py`) and occupies no thread either.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from a2wsgi import WSGIMiddleware
from flask import Flask
from werkzeug.exceptions import HTTPException

from dqmsquare_cfg import Settings
from runtime import logging_setup
from web import limits, problems, request_head
from web.access_log import RECORD, RequestDescriber, RequestRecord
from web.cache import dependencies
from web.cache.response_cache import (
    RenderedResponse,
    accepts_gzip,
)
from web.client_connection import (
    AsgiApplication,
    Client,
    ClientDisconnected,
    Headers,
    Message,
    Receive,
    Response,
    Scope,
    Send,
)
from web.errors import INTERNAL_ERROR, DatabaseUnavailable
from web.health import ALIVE
from web.http_protocol import TRANSPORT
from web.limits import Overloaded, RequestKind, RequestQueue, ShedCounter
from web.refusals import Refusal, RequestRefused
from web.rendering import Renderer
from web.request_head import RequestHead
from web.responses import SECURITY_HEADERS, SERVER_TIME_HEADER, server_time
from web.spool import Spool, SpoolSpace

log = logging.getLogger(__name__)

_SERVER_TIME = SERVER_TIME_HEADER.lower().encode()
_ALIVE_HEADERS: Headers = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", str(len(ALIVE)).encode()),
    (b"cache-control", b"no-store"),
    *((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()),
]


class MirrorApplication:
    """ASGI application around `app`; `metrics_application` is the WSGI application of the metrics port."""

    def __init__(self, app: Flask, settings: Settings, metrics_application: Any = None) -> None:
        self._app = app
        self._urls = app.url_map.bind("localhost")
        self._flask: AsgiApplication = WSGIMiddleware(app, workers=limits.threads(settings))  # type: ignore[arg-type]
        self._metrics: AsgiApplication = WSGIMiddleware(metrics_application, workers=1)
        self._metrics_port = settings.server_metrics_port
        self._describe = RequestDescriber(settings)
        self._alive_paths = ("/healthz", f"{settings.server_url_prefix}/healthz")
        self._api_root = problems.api_root(settings)
        self._queues = limits.queues(settings)
        self._shed = ShedCounter()
        self._renderer = Renderer(self._flask, self._queues)
        self._space = SpoolSpace(settings.tmp_dir)
        # Requests that Flask processes; the event loop keeps only weak references.
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = RequestRecord(scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
        logging_setup.request_id.set(record.id)
        client = Client(receive, record)
        response = Response(send, client, record)
        is_for_metrics = scope["server"] is not None and scope["server"][1] == self._metrics_port
        try:
            if is_for_metrics:
                await self._respond_with_metrics(scope, client, response)
            else:
                await self._respond(scope, client, response)
        except RequestRefused as error:
            if isinstance(error, Overloaded):
                record.is_shed = True
                self._shed.add(error.kind)
            await response.refuse(self._in_format_of(scope["path"], error.refusal))
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("response_aborted reason=%s", logging_setup.quote_value(error))
            await _abort(scope)
        except ClientDisconnected:
            record.has_left = True
        except Exception:
            # The outermost frame: the response that uvicorn would send has no security headers.
            log.exception("request_failed")
            if response.has_started:
                await _abort(scope)
            else:
                await response.refuse(self._in_format_of(scope["path"], _internal_error(record.id)))
        finally:
            if not is_for_metrics:
                record.end(self._describe)

    def _in_format_of(self, path: str, refusal: Refusal) -> Refusal:
        """A refusal in the format of errors of the path that was requested."""
        return replace(refusal, is_problem=problems.is_below(self._api_root, path))

    async def _respond_with_metrics(self, scope: Scope, client: Client, response: Response) -> None:
        head = request_head.parse(scope)
        await client.read_body(head)
        await self._forward(self._metrics, RequestKind.METRICS, scope, client, response)

    async def _respond(self, scope: Scope, client: Client, response: Response) -> None:
        head = request_head.parse(scope)
        # The parser treats what follows as the other protocol.
        response.closes = b"upgrade" in head.fields
        is_plain_get = head.method == "GET" and not head.has_body
        if is_plain_get and head.path in self._alive_paths:
            await response.send(200, _ALIVE_HEADERS, ALIVE)
            return
        key = (head.path, head.query, accepts_gzip(head.fields.get(b"accept-encoding", b"")))
        cached = self._renderer.cached(key) if is_plain_get else None
        if cached is not None:
            await self._send_rendered(cached, head, response)
            return
        kind, is_cached = self._classify(head)
        if kind is RequestKind.COMMAND and head.has_body:
            # A command without a session is refused by its head.
            client.read_body_on_demand()
        else:
            await client.read_body(head)
        scope = _scope_for_flask(scope, response.record)
        if is_plain_get and is_cached:
            rendered = await self._renderer.render(key, kind, scope, client)
            await self._send_rendered(rendered, head, response)
        else:
            await self._forward(self._flask, kind, scope, client, response)

    def _classify(self, head: RequestHead) -> tuple[RequestKind, bool]:
        """RequestKind of a request, and whether its response is cached."""
        try:
            endpoint, _ = self._urls.match(head.path, head.method)
        except HTTPException:
            return RequestKind.PAGE, False
        view = self._app.view_functions[endpoint]
        query = dict(parse_qsl(head.query.decode("latin-1")))
        return limits.kind_of(view, query), dependencies.is_cached_view(view, query)

    async def _send_rendered(self, rendered: RenderedResponse, head: RequestHead, response: Response) -> None:
        response.record.route = rendered.route
        now = (_SERVER_TIME, server_time().encode())
        if rendered.matches(head.fields.get(b"if-none-match")):
            await response.send(304, [*rendered.not_modified_headers, now], b"")
            return
        if not self._space.memory.take(len(rendered.body)):
            raise Overloaded(RequestKind.PAGE)
        try:
            await response.send(rendered.status, [*rendered.headers, now], rendered.body)
        finally:
            self._space.memory.give_back(len(rendered.body))

    async def _forward(
        self, wsgi: AsgiApplication, kind: RequestKind, scope: Scope, client: Client, response: Response
    ) -> None:
        """Send the response of a WSGI application, which runs when the request gets a slot."""
        queue = self._queues[kind]
        await _take_slot(queue, client)
        with Spool(self._space) as spool:
            call = _WsgiCall(wsgi, scope, client.receive, spool, queue)
            self._running.add(call.task)
            call.task.add_done_callback(self._running.discard)
            started = await client.wait_for(call.started)
            if started is not None:
                await response.send_spooled(*started, spool, scope["http_version"])
            await call.task
            await response.finish()


class _WsgiCall:
    """Call of a WSGI application in a slot, which is released when the call ends.

    `started`: status and headers of the response; `None` if the application failed before it had any.
    """

    def __init__(
        self, wsgi: AsgiApplication, scope: Scope, receive: Receive, spool: Spool, queue: RequestQueue
    ) -> None:
        self._spool = spool
        self._queue = queue
        self.started: asyncio.Future[tuple[int, Headers] | None]
        self.started = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run(wsgi, scope, receive))

    async def _run(self, wsgi: AsgiApplication, scope: Scope, receive: Receive) -> None:
        try:
            await wsgi(scope, receive, self._send)
        finally:
            self._queue.release()
            self._spool.finish()
            self._start(None)

    async def _send(self, message: Message) -> None:
        # Must not fail: a2wsgi's thread would wait forever.
        if message["type"] == "http.response.start":
            self._start((message["status"], message["headers"]))
        else:
            await self._spool.put(message["body"])

    def _start(self, response: tuple[int, Headers] | None) -> None:
        if not self.started.done():
            self.started.set_result(response)


async def _take_slot(queue: RequestQueue, client: Client) -> None:
    """Wait for a slot. Raises RequestRefused or ClientDisconnected."""
    turn = asyncio.ensure_future(queue.acquire())
    try:
        await client.wait_for(turn)
    except (ClientDisconnected, asyncio.CancelledError):
        turn.cancel()
        raise


def _scope_for_flask(scope: Scope, record: RequestRecord) -> Scope:
    # WSGI can't distinguish an underscore in a header's name from a hyphen: X_Y would pose as X-Y.
    headers = [field for field in scope["headers"] if b"_" not in field[0]]
    return {**scope, "headers": headers, RECORD: record}


def _internal_error(request_id: str) -> Refusal:
    return Refusal(500, INTERNAL_ERROR.format(request_id=request_id))


async def _abort(scope: Scope) -> None:
    """Close the connection within a response, so that its client notices that it is incomplete."""
    transport = scope.get("extensions", {}).get(TRANSPORT)
    if transport is not None:
        transport.abort()
        # uvicorn takes it for an error if the application ends before the connection.
        await asyncio.sleep(0)
