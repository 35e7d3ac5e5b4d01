"""What an answer stands on: what was read for it, and until when it holds by the clock.

The answer of a view that is marked as `kept` is the same for everyone, and is given again to whoever comes to
the same address (`web/cache/response_cache.py`) as long as nothing that was read for it has changed. What it
depends on besides, the view has to say: the time of day, by `until`. A statement that reaches a database past
`web/cache/cached_reader.py` is not known to change, so that an answer that stands on one is not kept.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from storage.change_tracker import ChangeTracker, Topic

View = TypeVar("View", bound=Callable[..., Any])
# Decides by the parameters of an address whether its answer is kept.
When = Callable[[Mapping[str, str]], bool]

# How long what was read holds while changes can't be heard.
UNHEARD_S = 1.0
_KEPT_WHEN = "is_kept_when"


@dataclass(frozen=True, slots=True)
class Reading:
    """Something was read of a cluster: at which count of its changes, when (monotonic), and what it is of."""

    changes: ChangeTracker
    count: int
    at_s: float
    topics: Collection[Topic | int]

    def holds(self, now_s: float) -> bool:
        """Whether it would be read again as it was."""
        is_fresh = self.changes.is_listening or now_s - self.at_s < UNHEARD_S
        return is_fresh and self.changes.is_current(self.topics, self.count)


@dataclass(slots=True)
class Grounds:
    """What an answer stands on. `is_known`: whether that is all; `ends_at_s` is monotonic."""

    readings: list[Reading] = field(default_factory=list)
    ends_at_s: float = math.inf
    is_known: bool = True

    def hold(self) -> bool:
        """Whether the answer would be made again as it was."""
        now_s = time.monotonic()
        return now_s < self.ends_at_s and all(reading.holds(now_s) for reading in self.readings)


_grounds: ContextVar[Grounds | None] = ContextVar("grounds", default=None)
_is_watched: ContextVar[bool] = ContextVar("is_watched", default=False)


def kept(view: View) -> View:
    """Marks a view whose answers are kept."""
    return kept_when(lambda _query: True)(view)


def kept_when(is_kept: When) -> Callable[[View], View]:
    """Marks a view whose answers to some addresses are kept."""

    def mark(view: View) -> View:
        setattr(view, _KEPT_WHEN, is_kept)
        return view

    return mark


def is_kept(view: Callable[..., Any], query: Mapping[str, str]) -> bool:
    """Whether the view's answer to an address is kept."""
    when: When | None = getattr(view, _KEPT_WHEN, None)
    return when is not None and when(query)


def until(at: datetime) -> None:
    """The answer that is being made holds until then at most."""
    _end((at - datetime.now(UTC)).total_seconds())


def for_a_moment() -> None:
    """The answer that is being made is soon to be made anew: it stands on what could not be read."""
    _end(UNHEARD_S)


def _end(in_s: float) -> None:
    grounds = _grounds.get()
    if grounds is not None:
        grounds.ends_at_s = min(grounds.ends_at_s, time.monotonic() + in_s)


def stand_on(reading: Reading) -> None:
    """The answer that is being made stands on this too."""
    grounds = _grounds.get()
    if grounds is not None:
        grounds.readings.append(reading)


@contextmanager
def noted() -> Iterator[Grounds]:
    """Notes what the answer that is made within stands on."""
    grounds = Grounds()
    token = _grounds.set(grounds)
    try:
        yield grounds
    finally:
        _grounds.reset(token)


@contextmanager
def watched() -> Iterator[None]:
    """Statements within are part of a reading."""
    token = _is_watched.set(True)
    try:
        yield
    finally:
        _is_watched.reset(token)


@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def _note_statement(*_: Any) -> None:
    grounds = _grounds.get()
    if grounds is not None and not _is_watched.get():
        grounds.is_known = False
