"""Regular expressions by RE2: the time of a search is linear in the length of any text."""

from collections.abc import Callable, Iterator
from typing import Protocol, cast

import re2  # type: ignore[import-untyped]

# Memory limit of a pattern's automaton, which grows with the texts that are searched. Hostile texts make that
# of redaction grow by 3 MB; with a limit of 8 MB they make it grow by 5 MB, and are searched a fifth faster.
# With 4 MB and the names of 60 hosts, RE2 falls back to an engine that is twenty times slower.
_MAX_MEMORY_BYTES = 5 << 20


class Match(Protocol):
    """Match of a linear-time pattern, as in `re`."""

    def __getitem__(self, group: int, /) -> bytes: ...
    def start(self) -> int: ...
    def end(self) -> int: ...
    def span(self) -> tuple[int, int]: ...


class Pattern(Protocol):
    """Linear-time pattern, as in `re`."""

    def match(self, text: bytes, pos: int = 0, endpos: int | None = None, /) -> Match | None: ...
    def search(self, text: bytes, pos: int = 0, endpos: int | None = None, /) -> Match | None: ...
    def finditer(self, text: bytes, pos: int = 0, endpos: int | None = None, /) -> Iterator[Match]: ...


# (text, position) → start and end of the first match from there on, both -1 if there is none.
SearchSpan = Callable[[bytes, int], tuple[int, int]]


def compile_linear(pattern: bytes) -> Pattern:
    """Compile a pattern with RE2, one byte per character. Groups are not captured, which is fastest."""
    return cast(Pattern, re2.compile(pattern, _options()))


def compile_search(pattern: bytes) -> SearchSpan:
    """Compile a pattern for frequent searches, of which only the offsets are needed.

    For each search, re2 makes a generator and a `Match` in Python, which takes as long as the search itself;
    its automaton is therefore called directly, as re2's own methods do.
    """
    match = re2.compile(pattern, _options())._regexp.Match  # noqa: SLF001
    unanchored = re2._Anchor.UNANCHORED  # noqa: SLF001

    def search(text: bytes, position: int) -> tuple[int, int]:
        return cast(tuple[int, int], match(unanchored, text, position, len(text))[0])

    return search


def _options() -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _MAX_MEMORY_BYTES
    options.never_capture = True
    return options
