"""Limits of a worker: queues by kind of request, and bounds on a request's head and body.

Requests wait in the event loop and occupy a thread only while Flask processes them. Each kind has its own
slots and its own maximum wait, after which a request is refused with status 503 and `Retry-After`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from http import HTTPStatus
from typing import Any, TypeVar

from dqmsquare_cfg import Settings
from web import problems
from web.query_args import QueryCondition
from web.responses import SECURITY_HEADERS

log = logging.getLogger(__name__)

View = TypeVar("View", bound=Callable[..., Any])

OVERLOADED = "The server is overloaded. Try again in a few seconds."
# Most long requests finish within this time.
RETRY_AFTER_S = 5

# A header of CMSWEB's may hold a whole certificate.
MAX_HEAD_BYTES = 64 * 1024
# Headers that take long to parse: 60 kB of `Accept` take 76 ms. A cookie may be as long as Apache lets it be.
_MAX_NEGOTIATION_BYTES, _MAX_COOKIES_BYTES = 1024, 8192
MAX_FIELD_BYTES: Mapping[bytes, int] = {
    b"accept": _MAX_NEGOTIATION_BYTES,
    b"if-none-match": _MAX_NEGOTIATION_BYTES,
    b"cookie": _MAX_COOKIES_BYTES,
}
MAX_HEADERS = 200
# The longest URL of a live page fits.
MAX_URL_BYTES = 4094
# No page has a third of them. Parsing 500 that are percent-encoded takes as long as a page.
MAX_PARAMETERS = 100
# The largest form is a login: 1024 characters of a password have up to 12 kB.
MAX_BODY_BYTES = 16 * 1024
BODY_TIMEOUT_S = 10.0

# Commands of the Control Room per worker; they wait for each other, up to minutes.
MAX_QUEUED_COMMANDS = 24

_KIND = "request_kind"
_REPORT_EVERY_S = 10.0


class RequestKind(StrEnum):
    """Kinds of requests, each with a queue of its own."""

    PAGE = "page"
    RUN_RANGE = "run_range"
    LOG_SEARCH = "log_search"
    LOGIN = "login"
    COMMAND = "command"
    METRICS = "metrics"


_BUSY = {
    RequestKind.RUN_RANGE: (
        "Too many requests for ranges of runs. Try again in a moment, or request one run at a time."
    ),
    RequestKind.LOG_SEARCH: "Too many searches of logs. Try again in a moment.",
}


@dataclass(frozen=True)
class Refusal:
    """Response of the server itself: a status and a sentence, as plain text or as problem details."""

    status: int
    sentence: str
    retry_after_s: int | None = None
    is_problem: bool = False

    @cached_property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of the response, which ends the connection."""
        fields = {
            "Content-Type": problems.MEDIA_TYPE if self.is_problem else "text/plain; charset=utf-8",
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            **SECURITY_HEADERS,
            **({} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}),
            "Connection": "close",
        }
        return [(name.lower().encode(), value.encode()) for name, value in fields.items()]

    @cached_property
    def body(self) -> bytes:
        """The sentence, or the problem details that contain it."""
        return problems.body(self.status, self.sentence) if self.is_problem else self.sentence.encode()

    @cached_property
    def raw(self) -> bytes:
        """The whole response as it is sent."""
        status = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n".encode()
        return b"".join((status, *(b"%s: %s\r\n" % field for field in self.headers), b"\r\n", self.body))


HEAD_TOO_LARGE = Refusal(
    431, f"Request headers are limited to {MAX_HEADERS} fields and {MAX_HEAD_BYTES // 1024} kB in total."
)
FIELD_TOO_LONG = Refusal(
    431,
    f"Accept and If-None-Match are limited to {_MAX_NEGOTIATION_BYTES // 1024} kB each, cookies to "
    f"{_MAX_COOKIES_BYTES // 1024} kB in total.",
)
URL_TOO_LONG = Refusal(414, f"URLs are limited to {MAX_URL_BYTES} bytes.")
TOO_MANY_PARAMETERS = Refusal(400, f"URLs are limited to {MAX_PARAMETERS} parameters.")
BODY_TOO_LARGE = Refusal(413, f"Request bodies are limited to {MAX_BODY_BYTES // 1024} kB.")
BODY_TOO_SLOW = Refusal(408, f"A request body must arrive within {BODY_TIMEOUT_S:.0f} s.")


class RequestRefused(Exception):
    """Raised when a request is not passed on to the application."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.sentence)
        self.refusal = refusal


class Overloaded(RequestRefused):
    """Raised when the worker has more requests than it can process."""

    def __init__(self, kind: RequestKind, sentence: str = OVERLOADED) -> None:
        super().__init__(Refusal(503, sentence, RETRY_AFTER_S))
        self.kind = kind


class RequestQueue:
    """First-come, first-served queue for a number of slots; used in the event loop alone."""

    def __init__(self, kind: RequestKind, slots: int, max_wait_s: float, sentence: str = OVERLOADED) -> None:
        self.kind = kind
        self._slots = asyncio.Semaphore(slots)
        self._max_wait_s = max_wait_s
        self._sentence = sentence
        # A request timed out, and no slot has become free since.
        self._is_stuck = False

    async def acquire(self) -> None:
        """Wait for a slot. Raises Overloaded after the maximum wait, or at once while none becomes free."""
        if self._is_stuck:
            raise Overloaded(self.kind, self._sentence)
        try:
            async with asyncio.timeout(self._max_wait_s):
                await self._slots.acquire()
        except TimeoutError:
            self._is_stuck = True
            raise Overloaded(self.kind, self._sentence) from None

    def release(self) -> None:
        """Return a slot."""
        self._is_stuck = False
        self._slots.release()


def slots(settings: Settings) -> Mapping[RequestKind, int]:
    """The number of requests of each kind that a worker processes at a time, each in a thread."""
    return {
        RequestKind.PAGE: settings.server_threads,
        RequestKind.RUN_RANGE: 2,
        # A search may take seconds of the database.
        RequestKind.LOG_SEARCH: 1,
        # Hashing a password takes a tenth of a second and 32 MB.
        RequestKind.LOGIN: 1,
        # Two more: the Control Room refuses and records those beyond the limit, for which they wait here.
        RequestKind.COMMAND: MAX_QUEUED_COMMANDS + 2,
        RequestKind.METRICS: 1,
    }


def queues(settings: Settings) -> Mapping[RequestKind, RequestQueue]:
    """Queues of a worker."""
    return {
        kind: RequestQueue(
            kind,
            number,
            max_wait_s=1 if kind is RequestKind.PAGE else 5,
            sentence=_BUSY.get(kind, OVERLOADED),
        )
        for kind, number in slots(settings).items()
    }


def threads(settings: Settings) -> int:
    """Threads of a worker, as many as all slots of its queues."""
    return sum(slots(settings).values())


def limited_as(kind: RequestKind, condition: QueryCondition = lambda _query: True) -> Callable[[View], View]:
    """Mark a view whose requests have a queue of their own, all or those of some queries."""

    def mark(view: View) -> View:
        setattr(view, _KIND, (kind, condition))
        return view

    return mark


def run_range(view: View) -> View:
    """Mark a view that responds for a range of runs."""
    return limited_as(RequestKind.RUN_RANGE)(view)


def kind_of(view: Callable[..., Any], query: Mapping[str, str]) -> RequestKind:
    """Kind of a request to a view."""
    kind, condition = getattr(view, _KIND, (RequestKind.PAGE, None))
    return kind if condition is None or condition(query) else RequestKind.PAGE


class ShedCounter:
    """Counter of refused requests by kind, logged as one line every 10 s."""

    def __init__(self) -> None:
        self._counts: Counter[RequestKind] = Counter()

    def add(self, kind: RequestKind) -> None:
        """Count a request."""
        if not self._counts:
            # An empty context: the line must not have the id of this request.
            asyncio.get_running_loop().call_later(_REPORT_EVERY_S, self._report, context=Context())
        self._counts[kind] += 1

    def _report(self) -> None:
        counts = " ".join(f"{kind}={count}" for kind, count in sorted(self._counts.items()))
        log.warning("requests_shed count=%d %s", self._counts.total(), counts)
        self._counts.clear()
