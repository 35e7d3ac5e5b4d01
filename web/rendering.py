"""Rendering of responses that are the same for everyone: once for all requests that wait for it.

A rendered response is cached as long as what it depends on is unchanged (`web/cache/`).
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from web import metrics
from web.access_log import RECORD, RequestRecord
from web.cache import dependencies
from web.cache.response_cache import CacheKey, RenderedResponse, ResponseCache, rendered_response
from web.client_connection import AsgiApplication, Client, Headers, Message, Scope
from web.limits import RequestKind, RequestQueue

# Headers of a client that do not decide how a response for everyone is rendered.
_OF_ONE_CLIENT = (b"if-none-match", b"if-modified-since", b"accept-encoding")


class Renderer:
    """Renders cached views with Flask (`flask`, as an ASGI application), in the slots of `queues`."""

    def __init__(self, flask: AsgiApplication, queues: Mapping[RequestKind, RequestQueue]) -> None:
        self._flask = flask
        self._queues = queues
        self._cache = ResponseCache()
        self._renderings: dict[CacheKey, _Rendering] = {}

    def cached(self, key: CacheKey) -> RenderedResponse | None:
        """The response in the cache, if it is still valid."""
        found = self._cache.get(key)
        if found is not None:
            metrics.cache_result("hit").inc()
        return found

    async def render(
        self, key: CacheKey, kind: RequestKind, scope: Scope, client: Client
    ) -> RenderedResponse:
        """The response to a cached view; a rendering that is in progress is shared.

        Raises RequestRefused and ClientDisconnected.
        """
        scope = _scope_for_everyone(scope, key)
        is_new_enough = False
        while (rendering := self._renderings.get(key)) is not None and not rendering.is_given_up:
            rendered = await rendering.wait(client)
            if not rendered.is_cacheable:
                # The response is for that client only.
                return await _Rendering(self._render, kind, scope).wait(client)
            if is_new_enough or rendered.dependencies.are_valid():
                metrics.cache_result("hit").inc()
                return rendered
            # The next rendering starts after this request arrived, so its result is new enough.
            is_new_enough = True
        return await self._start(key, kind, scope).wait(client)

    def _start(self, key: CacheKey, kind: RequestKind, scope: Scope) -> "_Rendering":
        async def render(rendering: "_Rendering") -> RenderedResponse:
            try:
                rendered = await self._render(rendering)
                if rendered.is_cacheable:
                    self._cache.put(key, rendered)
                return rendered
            finally:
                if self._renderings.get(key) is rendering:
                    del self._renderings[key]

        rendering = self._renderings[key] = _Rendering(render, kind, scope)
        return rendering

    async def _render(self, rendering: "_Rendering") -> RenderedResponse:
        queue = self._queues[rendering.kind]
        await queue.acquire()
        rendering.has_started = True
        metrics.cache_result("miss").inc()
        whole = _WholeResponse()
        with dependencies.collected() as collected:
            try:
                await self._flask(rendering.scope, _no_body, whole.send)
            finally:
                queue.release()
        route = rendering.scope[RECORD].route
        return rendered_response(whole.status, whole.headers, whole.body, route, collected)


class _Rendering:
    """Rendering of a response for all requests that wait for it."""

    def __init__(
        self,
        render: Callable[["_Rendering"], Coroutine[Any, Any, RenderedResponse]],
        kind: RequestKind,
        scope: Scope,
    ) -> None:
        self.kind = kind
        # A record of its own: the client of the first request may disconnect before the others.
        record = RequestRecord(scope["method"], scope["path"], "")
        record.id = scope[RECORD].id
        self.scope: Scope = {**scope, RECORD: record}
        self.has_started = False
        self._waiting = 0
        self._task = asyncio.create_task(render(self))

    @property
    def is_given_up(self) -> bool:
        """Whether all clients disconnected before it had started."""
        return self._task.cancelling() > 0

    async def wait(self, client: Client) -> RenderedResponse:
        """Wait for the response. A rendering without clients is cancelled unless it has started.

        Raises ClientDisconnected.
        """
        self._waiting += 1
        try:
            return await client.wait_for(self._task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self.has_started:
                self._task.cancel()


class _WholeResponse:
    """Collected response of the application."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self._chunks: list[bytes] = []

    @property
    def body(self) -> bytes:
        """The body; usually one chunk, which is not copied."""
        return b"".join(self._chunks)

    async def send(self, message: Message) -> None:
        """ASGI's `send`."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            self._chunks.append(message["body"])


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _scope_for_everyone(scope: Scope, key: CacheKey) -> Scope:
    """Scope of a response that is cached: of the headers in which clients differ, it has what the key has."""
    _, _, is_compressed = key
    headers = [field for field in scope["headers"] if field[0] not in _OF_ONE_CLIENT]
    encoding = (b"accept-encoding", b"gzip" if is_compressed else b"identity")
    return {**scope, "headers": [*headers, encoding]}
