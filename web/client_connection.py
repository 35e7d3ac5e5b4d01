"""Client of a request in the event loop: body, disconnection and response, with their time limits."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, TypeVar

from web import access_log, refusals
from web.access_log import RequestRecord
from web.refusals import Refusal, RequestRefused
from web.request_head import RequestHead
from web.spool import Spool

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApplication = Callable[[Any, Any, Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_PIECE_BYTES = 64 * 1024
# Time limit for sending a response.
_SENDING_S = 300.0
# Time and bytes for a client that is still sending to notice that it was refused.
_LINGER_S = 2.0
_LINGER_BYTES = 16_000_000
_ID_HEADER = access_log.ID_HEADER.lower().encode()
_CLOSE = (b"connection", b"close")
_BODY_MISMATCH = Refusal(400, "The request body is not as long as announced.")


class ClientDisconnected(Exception):
    """Raised when the client has closed the connection."""


class Client:
    """Client of a request: sends a body, and may disconnect."""

    __slots__ = ("_body", "_body_timeout_at", "_receive", "_record", "_watch", "is_body_read")

    def __init__(self, receive: Receive, record: RequestRecord) -> None:
        self._receive = receive
        self._record = record
        self._body: bytes | None = None
        self._body_timeout_at = 0.0
        self._watch: asyncio.Task[None] | None = None
        self.is_body_read = False

    async def read_body(self, head: RequestHead) -> None:
        """Read the body before a thread is occupied. Raises RequestRefused and ClientDisconnected."""
        body = bytearray()
        try:
            async with asyncio.timeout(refusals.BODY_TIMEOUT_S):
                while not self.is_body_read:
                    body += await self._next_part()
                    if len(body) > refusals.MAX_BODY_BYTES:
                        raise RequestRefused(refusals.BODY_TOO_LARGE)
        except TimeoutError:
            raise RequestRefused(refusals.BODY_TOO_SLOW) from None
        if head.content_length not in (0, len(body)):
            raise RequestRefused(_BODY_MISMATCH)
        self._body = bytes(body)

    def read_body_on_demand(self) -> None:
        """Let the application read the body if it needs it."""
        self._body_timeout_at = asyncio.get_running_loop().time() + refusals.BODY_TIMEOUT_S

    async def receive(self) -> Message:
        """ASGI's `receive` for the application."""
        if self._body is not None:
            body, self._body = self._body, b""
        else:
            try:
                async with asyncio.timeout_at(self._body_timeout_at):
                    body = await self._next_part()
            except (TimeoutError, ClientDisconnected):
                return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body, "more_body": not self.is_body_read}

    async def wait_for(self, future: asyncio.Future[T]) -> T:
        """Result of a future, which is not cancelled if the client disconnects. Raises ClientDisconnected."""
        watched = (future,) if self._watch is None else (future, self._watch)
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise ClientDisconnected
        return await future

    async def linger(self) -> None:
        """Discard an unread body: closing with unread input resets the connection and loses the response."""
        dropped = 0
        with suppress(TimeoutError, ClientDisconnected):
            async with asyncio.timeout(_LINGER_S):
                while not self.is_body_read and dropped < _LINGER_BYTES:
                    dropped += len(await self._next_part())

    async def _next_part(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        if not message.get("more_body", False):
            self.is_body_read = True
            self._watch = asyncio.create_task(self._watch_connection())
        body: bytes = message.get("body", b"")
        return body

    async def _watch_connection(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._record.has_left = True


class Response:
    """Response of a request, recorded as it is sent. `closes`: the connection is closed after it."""

    __slots__ = ("_client", "_send", "closes", "has_started", "record")

    def __init__(self, send: Send, client: Client, record: RequestRecord) -> None:
        self._send = send
        self._client = client
        self.record = record
        self.closes = self.has_started = False

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole response. Raises TimeoutError."""
        await self._send(self._start(status, headers))
        if len(body) > _PIECE_BYTES:
            async with asyncio.timeout(_SENDING_S):
                await self._send_in_pieces(body)
            body = b""
        await self._send(self._part(body, is_last=True))

    async def send_spooled(self, status: int, headers: Headers, spool: Spool, http_version: str) -> None:
        """Send a response as it is generated, but not its end. Raises TimeoutError, ClientDisconnected."""
        self.closes = self.closes or not self._client.is_body_read
        async with asyncio.timeout(_SENDING_S):
            if http_version == "1.0" and all(name != b"content-length" for name, _ in headers):
                # HTTP/1.0 has no chunks.
                headers.append((b"content-length", str(await spool.complete_size()).encode()))
            await self._send(self._start(status, headers))
            while chunk := await spool.get():
                await self._send_in_pieces(chunk)
                if self.record.has_left:
                    raise ClientDisconnected

    async def finish(self) -> None:
        """End the response."""
        if self.closes:
            await self._client.linger()
        await self._send(self._part(b"", is_last=True))

    async def refuse(self, refusal: Refusal) -> None:
        """Send a refusal and close the connection."""
        self.closes = True
        await self._send(self._start(refusal.status, refusal.headers))
        await self._send(self._part(refusal.body))
        await self.finish()

    async def _send_in_pieces(self, content: bytes) -> None:
        """Send bytes; waits for the client between pieces."""
        for offset in range(0, len(content), _PIECE_BYTES):
            await self._send(self._part(content[offset : offset + _PIECE_BYTES]))

    def _start(self, status: int, headers: Headers) -> Message:
        self.has_started = True
        self.record.status = str(status)
        fields = [*headers, (_ID_HEADER, self.record.id.encode())]
        if self.closes:
            fields.append(_CLOSE)
        return {"type": "http.response.start", "status": status, "headers": fields}

    def _part(self, content: bytes, *, is_last: bool = False) -> Message:
        self.record.bytes_sent += len(content)
        return {"type": "http.response.body", "body": content, "more_body": not is_last}
