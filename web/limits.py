"""Limits of a worker: queues by kind of request, and load shedding.

Requests wait in the event loop and occupy a thread only while Flask processes them. Each kind has its own
slots and its own maximum wait, after which a request is refused with status 503 and `Retry-After`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import Context
from enum import StrEnum
from typing import Any, TypeVar

from dqmsquare_cfg import Settings
from web.query_args import QueryCondition
from web.refusals import Refusal, RequestRefused

log = logging.getLogger(__name__)

View = TypeVar("View", bound=Callable[..., Any])

OVERLOADED = "The server is overloaded. Try again in a few seconds."
# Most long requests finish within this time.
RETRY_AFTER_S = 5

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
