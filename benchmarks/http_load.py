"""A load of HTTP requests that costs little itself: kept connections, one request at a time on each."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: chunked", re.IGNORECASE)
_TAG = re.compile(rb"\r\netag: ([^\r]+)", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and after how many seconds."""

    status: int
    tag: str | None
    size: int
    seconds: float


class Visitor(asyncio.Protocol):
    """Somebody with a connection to the server at `url`; it is made anew when the server ends it."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answered: asyncio.Future[None] | None = None

    async def get(self, path: str, tag: str | None = None) -> Answer:
        """Asks for a path, compressed; only if it changed, where `tag` is given. Raises ConnectionError."""
        if self._transport is None:
            await asyncio.get_running_loop().create_connection(lambda: self, self._host, self._port)
        assert self._transport is not None
        condition = "" if tag is None else f"If-None-Match: {tag}\r\n"
        self._received.clear()
        self._answered = asyncio.get_running_loop().create_future()
        began_s = time.perf_counter()
        self._transport.write(
            f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept-Encoding: gzip\r\n{condition}\r\n".encode()
        )
        await self._answered
        seconds = time.perf_counter() - began_s
        head = bytes(self._received.partition(_END_OF_HEAD)[0])
        found = _TAG.search(head)
        return Answer(
            int(head[9:12]), found[1].decode() if found else None, len(self._received) - len(head), seconds
        )

    def leave(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A piece of the answer came."""
        self._received += data
        if self._answered is not None and not self._answered.done() and _is_whole(self._received):
            self._answered.set_result(None)

    def connection_lost(self, _error: Exception | None) -> None:
        """The server, or this visitor, has ended it."""
        self._transport = None
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError("the server hung up"))


def percentile_ms(seconds: Sequence[float], part: float) -> float:
    """What so many parts of one of the times are below, in milliseconds."""
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _is_whole(received: bytearray) -> bool:
    end = received.find(_END_OF_HEAD)
    if end < 0:
        return False
    head = bytes(received[:end])
    begins = end + len(_END_OF_HEAD)
    length = _LENGTH.search(head)
    if length is not None:
        return len(received) - begins >= int(length[1])
    return received.endswith(_LAST_CHUNK, begins) if _CHUNKED.search(head) else True
