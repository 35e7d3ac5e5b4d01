"""HTTP protocol of the server: uvicorn's, with limits on what a client can make it hold.

uvicorn's httptools protocol has no limit on the size of a request's head, on the time that a client may take
to send it, on pipelined requests, or on the time that a client may take to read. Here:

- an incomplete head is refused beyond 64 kB, and its connection closed after 20 s;
- trailer fields are dropped: uvicorn would append them to the headers;
- more than 32 pipelined requests close the connection;
- a malformed request gets a response with the security headers, after those of the requests before it;
- a client that reads nothing for 10 s, or takes more than 5 minutes for what is buffered, is disconnected.

It overrides only callbacks of `asyncio.Protocol` and of httptools' parser, and uvicorn's public methods.
"""

import asyncio
import fcntl
import re
import struct
import sys
import termios
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from web import problems
from web.refusals import HEAD_TOO_LARGE, MAX_HEAD_BYTES, Refusal

# Key of the connection's `asyncio.Transport` among an ASGI scope's extensions.
TRANSPORT = "dqmsquare.transport"

_HEAD_TIMEOUT_S = 20.0
_MAX_PIPELINED = 32
_STALLED_S = 10.0
_MAX_DRAIN_S = 300.0
# Time for a refused client to read the response; closing with unread input would reset the connection.
_LINGER_S = 2.0
_MALFORMED = Refusal(400, "This is not a valid HTTP request.")
_TARGET = re.compile(rb"^[A-Z]+ ([^ \r\n]*)", re.MULTILINE)
# curl sends the characters of a URL as they were typed.
_INVALID_URL = Refusal(400, "The URL has a character that must be percent-encoded, such as %C3%A9 for é.")


class _Discarded(list[tuple[bytes, bytes]]):
    """List that discards what is appended to it."""

    def append(self, _field: tuple[bytes, bytes]) -> None:
        """Discard a trailer field."""


_NO_TRAILERS = _Discarded()


class HttpProtocol(HttpToolsProtocol):
    """A client's connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_in_request = False
        self._is_head_incomplete = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self._refusal: Refusal | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        super().connection_lost(exc)
        for timer in (self._head_timer, self._drain_timer):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, unless the connection was refused."""
        if self._refusal is not None:
            return
        was_incomplete = self._is_head_incomplete
        self._received = data
        super().data_received(data)
        if self._is_head_incomplete and was_incomplete:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HEAD_TOO_LARGE)
        if self._head_timer is None and (self._is_head_incomplete or not self._is_busy()):
            self._expect_head()

    def on_message_begin(self) -> None:
        """Called at a request's first byte."""
        super().on_message_begin()
        self._is_in_request = self._is_head_incomplete = True
        self._head_bytes = 0
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        """Called at the end of a request's head."""
        self._is_head_incomplete = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()
        self.headers = _NO_TRAILERS
        if len(self.pipeline) > _MAX_PIPELINED:
            self.transport.abort()

    def on_message_complete(self) -> None:
        """Called at the end of a request."""
        self._is_in_request = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Send a refusal that had to wait for this response."""
        super().on_response_complete()
        if self.transport.is_closing():
            # uvicorn sets no time limit for the rest of the response.
            self._watch_draining()
        elif self._refusal is not None and not self._is_busy():
            self._send_refusal(self._refusal)

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request; uvicorn calls this where it handles the parser's exception."""
        del msg
        is_url = isinstance(sys.exception(), httptools.HttpParserInvalidURLError)
        if is_url:
            # The parser passes on nothing of it.
            self.url = next(reversed(_TARGET.findall(self._received)), b"")
        self._refuse(_INVALID_URL if is_url else _MALFORMED)

    def pause_writing(self) -> None:
        """Called when the client does not read all that was written."""
        super().pause_writing()
        self._watch_draining()

    def resume_writing(self) -> None:
        """Called when the client has read most of it."""
        super().resume_writing()
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Called when the client has not sent another request in time."""
        super().timeout_keep_alive_handler()
        self._watch_draining()

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_TIMEOUT_S, self._head_overdue)

    def _head_overdue(self) -> None:
        self._head_timer = None
        if self._is_busy():
            # Part of the next request came before the response to this one.
            self._expect_head()
        else:
            self.transport.abort()

    def _watch_draining(self) -> None:
        """Disconnect the client if it stops reading; `connection_lost` ends the watch."""
        if self._drain_timer is None and self.transport.get_write_buffer_size():
            self._drain_timer = self.loop.call_later(
                _STALLED_S, self._check_draining, self.loop.time(), self._unsent_bytes()
            )

    def _check_draining(self, since_s: float, unsent_before: int) -> None:
        unsent = self._unsent_bytes()
        if unsent >= unsent_before or self.loop.time() - since_s > _MAX_DRAIN_S:
            self.transport.abort()
        else:
            self._drain_timer = self.loop.call_later(_STALLED_S, self._check_draining, since_s, unsent)

    def _unsent_bytes(self) -> int:
        """Number of bytes that the client has not received, in the kernel's buffer as well.

        The kernel asks for more only when a third of its buffer, which may be megabytes, is free.
        """
        descriptor = self.transport.get_extra_info("socket").fileno()
        queued = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
        return int(queued) + self.transport.get_write_buffer_size()

    def _refuse(self, refusal: Refusal) -> None:
        """Respond in place of the application, after the responses to earlier requests."""
        self._refusal = refusal = replace(refusal, is_problem=self._is_for_api())
        if not self._is_busy():
            self._send_refusal(refusal)
        elif self.cycle.more_body and not self.pipeline:
            # The body of the request that is being answered can't be read on.
            if not self.cycle.response_started:
                self.transport.write(refusal.raw)
            self.transport.close()

    def _is_for_api(self) -> bool:
        """Whether the request that is being read is for the API, as far as its URL was read."""
        path, _, _ = self.url.partition(b"?")
        return self._is_in_request and problems.is_in_any(unquote(path.decode("latin-1")))

    def _send_refusal(self, refusal: Refusal) -> None:
        if not self.transport.is_closing():
            self.transport.write(refusal.raw)
            self.transport.write_eof()
            self.loop.call_later(_LINGER_S, self.transport.abort)
