"""Cache dependencies of a response: the reads it was made from, and its expiry time.

A view marked by `cached_view` has the same response for everyone (`web/cache/response_cache.py`), valid until
one of its reads changes. What else it depends on, the view has to declare: the time of day, by `expire_at`. A
statement that bypasses `web/cache/cached_reader.py` has unknown changes, so its response is not cached.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from storage.change_listener import ChangeTracker, Topics
from web.query_args import QueryCondition

View = TypeVar("View", bound=Callable[..., Any])

# Lifetime of a read while notifications of changes can't be received.
_UNNOTIFIED_LIFETIME_S = 1.0
_CACHED_IF = "cached_if"


@dataclass(frozen=True, slots=True)
class ReadDependency:
    """A read of a cluster: the version and the monotonic time before it, and the topics it covers.

    `expires_at_s`: the monotonic time at which its result changes by the clock alone.
    """

    changes: ChangeTracker
    version: int
    read_at_s: float
    topics: Topics
    expires_at_s: float = math.inf

    def is_valid(self, now_s: float) -> bool:
        """Whether reading again would give the same."""
        is_fresh = self.changes.is_listening or now_s - self.read_at_s < _UNNOTIFIED_LIFETIME_S
        return is_fresh and now_s < self.expires_at_s and self.changes.is_current(self.topics, self.version)


@dataclass(slots=True)
class CacheDependencies:
    """Dependencies of a response. `expires_at_s` is monotonic; `is_complete`: nothing else was read."""

    reads: list[ReadDependency] = field(default_factory=list)
    expires_at_s: float = math.inf
    is_complete: bool = True
    # Versions at which all reads were last found to be valid.
    _valid_at: Mapping[ChangeTracker, int] = field(default_factory=dict)

    def are_valid(self) -> bool:
        """Whether rendering again would give the same response."""
        now_s = time.monotonic()
        if now_s >= self.expires_at_s:
            return False
        if self._valid_at and all(
            changes.is_listening and changes.version == version for changes, version in self._valid_at.items()
        ):
            return True
        versions = {read.changes: read.changes.version for read in self.reads}
        if not all(read.is_valid(now_s) for read in self.reads):
            return False
        self._valid_at = versions
        return True


_dependencies: ContextVar[CacheDependencies | None] = ContextVar("dependencies", default=None)
_is_cached_read: ContextVar[bool] = ContextVar("is_cached_read", default=False)


def cached_view(view: View) -> View:
    """Mark a view whose responses are cached."""
    return cached_view_if(lambda _query: True)(view)


def cached_view_if(condition: QueryCondition) -> Callable[[View], View]:
    """Mark a view whose responses are cached for some queries."""

    def mark(view: View) -> View:
        setattr(view, _CACHED_IF, condition)
        return view

    return mark


def is_cached_view(view: Callable[..., Any], query: Mapping[str, str]) -> bool:
    """Whether the view's response to a query is cached."""
    condition: QueryCondition | None = getattr(view, _CACHED_IF, None)
    return condition is not None and condition(query)


def monotonic_s(at: datetime) -> float:
    """The monotonic time of a time of day."""
    return time.monotonic() + (at - datetime.now(UTC)).total_seconds()


def expire_at(at: datetime) -> None:
    """Limit the validity of the response that is being made."""
    if _dependencies.get() is not None:
        _expire(monotonic_s(at))


def expire_soon() -> None:
    """Limit the validity of a response that was made from data which could not be refreshed."""
    _expire(time.monotonic() + _UNNOTIFIED_LIFETIME_S)


def _expire(at_s: float) -> None:
    dependencies = _dependencies.get()
    if dependencies is not None:
        dependencies.expires_at_s = min(dependencies.expires_at_s, at_s)


def depend_on(read: ReadDependency) -> None:
    """Add a read to the dependencies of the response that is being made."""
    dependencies = _dependencies.get()
    if dependencies is not None:
        dependencies.reads.append(read)
        _expire(read.expires_at_s)


@contextmanager
def collected() -> Iterator[CacheDependencies]:
    """Collect the dependencies of the response that is made within."""
    dependencies = CacheDependencies()
    token = _dependencies.set(dependencies)
    try:
        yield dependencies
    finally:
        _dependencies.reset(token)


@contextmanager
def cached_read() -> Iterator[None]:
    """Statements within belong to a read that is tracked as a dependency."""
    token = _is_cached_read.set(True)
    try:
        yield
    finally:
        _is_cached_read.reset(token)


def note_statement() -> None:
    """Note that a statement is executed: unless it is part of a tracked read, its changes are unknown."""
    dependencies = _dependencies.get()
    if dependencies is not None and not _is_cached_read.get():
        dependencies.is_complete = False
