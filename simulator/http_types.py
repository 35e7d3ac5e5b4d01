"""HTTP requests and responses of the simulator, and the recorder of requests that tests inspect."""

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import Enum, auto
from typing import Any

HTML = "text/html; charset=UTF-8"
JSON = "application/json"

_MAX_RECORDED_REQUESTS = 10_000
_MAX_RECORDED_BYTES = 32_000_000
# The cookie holds the secret.
_UNRECORDED_HEADERS = frozenset({"cookie", "authorization"})


@dataclass(frozen=True, slots=True)
class Request:
    """A complete request.

    `query` is in the order sent, with repeated names; header names are in lower case. `client_serial` is the
    serial number of the client's certificate.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    client_serial: int | None = None

    def parameter(self, name: str) -> str | None:
        """The last value of a query parameter, as DQM² takes it; `None` if it is absent."""
        return next((value for given, value in reversed(self.query) if given == name), None)

    def header(self, name: str) -> str | None:
        """The value of a header, `name` in lower case; `None` if it is absent."""
        return next((value for given, value in self.headers if given == name), None)


class SendMode(Enum):
    """Way of sending a response."""

    NORMAL = auto()
    # Header and body separately with Nagle's algorithm on, as the released server does: 40 ms of delayed ACK.
    TWO_PACKETS = auto()
    # Chunked transfer encoding with one character per chunk.
    CHUNK_PER_CHARACTER = auto()
    # Nothing is sent; the connection is closed.
    CLOSE = auto()


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `close_after_bytes` closes the connection after that much of the body."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = JSON
    location: str | None = None
    send_mode: SendMode = SendMode.NORMAL
    close_after_bytes: int | None = None


def error_page(status: int, title: str, text: str = "") -> Response:
    """An error page of DQM²'s web framework."""
    page = (
        '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n'
        f"<html>\n<head><title>Error: {status} {title}</title></head>\n"
        f"<body>\n<h1>Error: {status} {title}</h1>\n<p>Sorry, the requested URL caused an error:</p>\n"
        f"<pre>{text}</pre>\n</body>\n</html>\n"
    )
    return Response(status, page.encode(), HTML)


def server_error(text: str) -> Response:
    """The 500 page for an unhandled exception inside DQM²."""
    return error_page(500, "Internal Server Error", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest(Request):
    """A request and the status of its response, 0 if the connection was closed instead.

    `headers` lack the secrets; `started_s` and `ended_s` are of a monotonic clock.
    """

    status: int
    started_s: float
    ended_s: float

    @property
    def messages(self) -> list[Any]:
        """The messages of a `sync_proxy` body, parsed. Raises ValueError or KeyError if it has none."""
        return [json.loads(message) for message in json.loads(self.body)["messages"]]


class RequestRecorder:
    """The newest requests to the gateway, limited in number and total size."""

    def __init__(self) -> None:
        self._recorded = threading.Condition()
        self._requests: deque[RecordedRequest] = deque()
        self._bytes = 0

    def record(self, request: Request, status: int, *, started_s: float, ended_s: float) -> None:
        """Record a request, dropping the oldest ones to make space."""
        headers = tuple((name, value) for name, value in request.headers if name not in _UNRECORDED_HEADERS)
        recorded = RecordedRequest(
            **{**asdict(request), "headers": headers}, status=status, started_s=started_s, ended_s=ended_s
        )
        with self._recorded:
            self._requests.append(recorded)
            self._bytes += len(recorded.body)
            while len(self._requests) > _MAX_RECORDED_REQUESTS or self._bytes > _MAX_RECORDED_BYTES:
                self._bytes -= len(self._requests.popleft().body)
            self._recorded.notify_all()

    def requests(self) -> tuple[RecordedRequest, ...]:
        """The recorded requests, oldest first."""
        with self._recorded:
            return tuple(self._requests)

    def wait_for(
        self, predicate: Callable[[RecordedRequest], bool], timeout_s: float = 30.0
    ) -> RecordedRequest:
        """The first recorded request that satisfies the predicate, once there is one.

        Raises TimeoutError if none arrives in time.
        """
        with self._recorded:
            if not self._recorded.wait_for(lambda: any(map(predicate, self._requests)), timeout_s):
                raise TimeoutError(f"no such request arrived within {timeout_s:g} s")
            return next(filter(predicate, self._requests))

    def clear(self) -> None:
        """Drop all recorded requests."""
        with self._recorded:
            self._requests.clear()
            self._bytes = 0
