"""Regular expressions by RE2: the time of a search is linear in the length of any text."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

import re2  # type: ignore[import-untyped]

# Memory limit of a pattern's automaton, which grows with the texts that are searched. That of redaction needs
# 4.7 MB for ordinary text. Hostile texts make the process grow by 5 MB; with a limit of 8 MB by 6 MB.
# If the limit is too low for a pattern, RE2 reports it at each search, and searches a hundred times slower.
_MAX_MEMORY_BYTES = 6 << 20
# Memory that each byte of a literal may add to that limit.
_LITERAL_BYTES = 640
_AT_START = re2._Anchor.ANCHOR_START  # noqa: SLF001
_ANYWHERE = re2._Anchor.UNANCHORED  # noqa: SLF001


class Match:
    """Match of a linear-time pattern, as in `re`."""

    __slots__ = ("_end", "_start", "_text")

    def __init__(self, text: bytes, start: int, end: int) -> None:
        self._text = text
        self._start = start
        self._end = end

    def __getitem__(self, group: Literal[0], /) -> bytes:
        return self._text[self._start : self._end]

    def start(self) -> int:
        """Offset of the match."""
        return self._start

    def end(self) -> int:
        """Offset behind the match."""
        return self._end

    def span(self) -> tuple[int, int]:
        """Both offsets."""
        return self._start, self._end


class Pattern:
    """Linear-time pattern, as in `re`, without groups.

    For each search, re2 makes a generator and a match in Python, which takes twice as long as the search
    itself in most texts; its automaton is therefore called directly, as re2's own methods do.
    """

    __slots__ = ("_find",)

    def __init__(self, pattern: bytes, literals: int) -> None:
        self._find = _compile(pattern, literals)

    def match(self, text: bytes, pos: int = 0, endpos: int | None = None, /) -> Match | None:
        """The match at `pos`, if there is one."""
        return self._first(_AT_START, text, pos, endpos)

    def search(self, text: bytes, pos: int = 0, endpos: int | None = None, /) -> Match | None:
        """The first match from `pos` on."""
        return self._first(_ANYWHERE, text, pos, endpos)

    def finditer(self, text: bytes, pos: int = 0, endpos: int | None = None, /) -> Iterator[Match]:
        """All matches, which do not overlap; those of a pattern that matches no empty text."""
        match = self.search(text, pos, endpos)
        while match is not None:
            yield match
            match = self.search(text, match.end(), endpos)

    def _first(self, anchor: object, text: bytes, pos: int, endpos: int | None) -> Match | None:
        last = len(text) if endpos is None else min(endpos, len(text))
        if pos > last:
            return None
        start, end = self._find(anchor, text, pos, last)[0]
        return Match(text, start, end) if start >= 0 else None


# (text, position) → start and end of the first match from there on, both -1 if there is none.
SearchSpan = Callable[[bytes, int], tuple[int, int]]


def compile_linear(pattern: bytes, literals: int = 0) -> Pattern:
    """Compile a pattern with RE2, one byte per character. Groups are not captured, which is fastest.

    `literals` are the bytes of texts that a configuration adds to the pattern; they get memory of their own.
    """
    return Pattern(pattern, literals)


def compile_search(pattern: bytes, literals: int = 0) -> SearchSpan:
    """Compile a pattern for frequent searches, of which only the offsets are needed."""
    find = _compile(pattern, literals)

    def search(text: bytes, position: int) -> tuple[int, int]:
        return cast(tuple[int, int], find(_ANYWHERE, text, position, len(text))[0])

    return search


def _compile(pattern: bytes, literals: int) -> Any:
    """The function of a pattern's automaton that finds a match; it returns the offsets of each group."""
    return re2.compile(pattern, _options(literals))._regexp.Match  # noqa: SLF001


def _options(literals: int) -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _MAX_MEMORY_BYTES + literals * _LITERAL_BYTES
    options.never_capture = True
    return options
