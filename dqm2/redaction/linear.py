"""Regular expressions that take linear time on any input: RE2, over bytes, one byte a character."""

from collections.abc import Iterator
from typing import Protocol, cast

import re2  # type: ignore[import-untyped]

# The union of all rules has many states; with too little room for them RE2 falls back to its slow engine.
_MEMORY_BYTES = 64 << 20


class Match(Protocol):
    """A match as a whole, as in `re`."""

    def __getitem__(self, group: int, /) -> bytes: ...
    def start(self) -> int: ...
    def end(self) -> int: ...
    def span(self) -> tuple[int, int]: ...


class Pattern(Protocol):
    """A compiled expression, as in `re`."""

    def match(self, text: bytes, pos: int = 0, endpos: int | None = None, /) -> Match | None: ...
    def search(self, text: bytes, pos: int = 0, endpos: int | None = None, /) -> Match | None: ...
    def finditer(self, text: bytes, pos: int = 0, endpos: int | None = None, /) -> Iterator[Match]: ...


def linear(pattern: bytes) -> Pattern:
    """The expression compiled; a match tells no more than where it stands, which is the fast question."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _MEMORY_BYTES
    options.never_capture = True
    return cast(Pattern, re2.compile(pattern, options))
