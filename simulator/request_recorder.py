"""Every request that reached the gateway, for tests to look at; bounded in number and size."""

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulator.http_types import Request

_MOST_REQUESTS = 10_000
_MOST_BYTES = 32_000_000
# A cookie holds the secret.
_UNRECORDED_HEADERS = frozenset({"cookie", "authorization"})


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request and the status that it was answered with; 0 if the connection was closed instead.

    `query` is in the order sent, with repeated names; secrets are left out of `headers`; `began_s` and
    `ended_s` are of a monotonic clock. `client_serial` is the serial number of the client's certificate.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    status: int
    began_s: float
    ended_s: float
    client_serial: int | None = None

    @property
    def messages(self) -> list[Any]:
        """The messages of a `sync_proxy` body, parsed. Raises ValueError or KeyError if it has none."""
        return [json.loads(message) for message in json.loads(self.body)["messages"]]


class Recorder:
    """Keeps the newest requests."""

    def __init__(self) -> None:
        self._recorded = threading.Condition()
        self._kept: deque[Recorded] = deque()
        self._bytes = 0

    def record(self, request: Request, status: int, *, began_s: float, ended_s: float) -> None:
        """Keeps a request; the oldest ones give way to it."""
        headers = tuple((name, value) for name, value in request.headers if name not in _UNRECORDED_HEADERS)
        recorded = Recorded(
            request.method,
            request.path,
            request.query,
            headers,
            request.body,
            status,
            began_s,
            ended_s,
            request.client_serial,
        )
        with self._recorded:
            self._kept.append(recorded)
            self._bytes += len(recorded.body)
            while len(self._kept) > _MOST_REQUESTS or self._bytes > _MOST_BYTES:
                self._bytes -= len(self._kept.popleft().body)
            self._recorded.notify_all()

    def requests(self) -> tuple[Recorded, ...]:
        """The requests that are kept, the oldest first."""
        with self._recorded:
            return tuple(self._kept)

    def wait_for(self, meets: Callable[[Recorded], bool], timeout_s: float = 30.0) -> Recorded:
        """The first request that is kept and meets a condition, once there is one.

        Raises TimeoutError if none has come in time.
        """
        with self._recorded:
            if not self._recorded.wait_for(lambda: any(map(meets, self._kept)), timeout_s):
                raise TimeoutError(f"no such request came within {timeout_s:g} s")
            return next(filter(meets, self._kept))

    def clear(self) -> None:
        """Forgets them all."""
        with self._recorded:
            self._kept.clear()
            self._bytes = 0
