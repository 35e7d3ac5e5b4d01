"""Templates of log lines: the words of a line, without what differs between jobs that write the same line.

Numbers, times, addresses and punctuation are left out, so that few templates cover the lines of many logs.
Lines of the same template are the same line to a search.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from dqm2 import log_messages
from dqm2.records import CrashReason, ErrorGroup, JobLog

# Version of the rules: templates are made again if it changes.
TEMPLATES_VERSION = 1

# Templates of one log. Real logs have some 40 in their tails.
MAX_TEMPLATES = 64
# Words of a template and characters of a line; the rest of a line is left out.
_MAX_WORDS = 24
_MAX_LINE = 400
_MAX_CHARACTER_BYTES = 4
# Lines of an error from its first one on, which has its header only, and of the reason for a crash.
_ERROR_LINES, _CRASH_LINES = 3, 16
# As short as PostgreSQL's integer: of 100,000 templates two may have the same hash, and one of them is not
# found.
_ID_BYTES = 4

# A word, as the group, or an address, a hash or the suffix of an ordinal number, without a group.
_WORD = re.compile(
    r"0x[0-9a-f]+|\b(?=[a-f]*[0-9])[0-9a-f]{8,}\b|(?<=[0-9])(?:st|nd|rd|th)\b|([^\W\d_]{2,40})"
)
_NUMBER = re.compile(r"[0-9]+")
_SAME_DIGIT = bytes.maketrans(b"023456789", b"111111111")
_ADDRESS_PREFIX = b"0x"
# Apart from their digits, lines recur from log to log: 1 in 100 of the simulator's is new. The others are
# found in a tenth of the time.
_CACHE_SIZE = 2048
# Parts of times, and the empty group of a match that is not a word.
_NO_WORDS = frozenset(
    {
        "",
        *("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
        *("mon", "tue", "wed", "thu", "fri", "sat", "sun", "utc", "gmt", "cet", "cest"),
    }
)


# Words of the templates of a log, by id.
Templates = Mapping[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class LineQuery:
    """Words by their beginnings and numbers that a line must have, in any order; at least one word."""

    words: tuple[str, ...]
    numbers: frozenset[str]

    def matches(self, line: str) -> bool:
        """Whether a line has all of them."""
        folded = line[:_MAX_LINE].lower()
        # Much faster than its words, and false for nearly all lines.
        if not all(word in folded for word in self.words):
            return False
        found = _words_of_folded(_fold(line[:_MAX_LINE]))
        if not all(any(word.startswith(wanted) for word in found) for wanted in self.words):
            return False
        return not self.numbers or self.numbers <= set(_NUMBER.findall(folded))


def parse_query(text: str, *, with_numbers: bool) -> LineQuery | None:
    """The query for words, or for a line of a log; `None` if it has no word."""
    words = _template(text)
    if not words:
        return None
    return LineQuery(words, frozenset(_NUMBER.findall(text[:_MAX_LINE])) if with_numbers else frozenset())


def templates(log: JobLog, errors: Iterable[ErrorGroup], crash: CrashReason | None) -> Templates:
    """The words of different lines of a log, by a hash of them: its errors, then its tail from the end on."""
    found: dict[int, tuple[str, ...]] = {}
    for line in dict.fromkeys(_lines(log, errors, crash)):
        words, id_ = _identified(line[: _MAX_LINE * _MAX_CHARACTER_BYTES])
        if words:
            found[id_] = words
            if len(found) == MAX_TEMPLATES:
                break
    return found


def _fold(text: str) -> bytes:
    """Text in lower case and with the same digit for all, except in the prefix of addresses.

    Lines that differ in their digits only have the same template: no rule distinguishes digits.
    """
    folded = text.encode(errors="replace").lower()
    return _ADDRESS_PREFIX.join(part.translate(_SAME_DIGIT) for part in folded.split(_ADDRESS_PREFIX))


@lru_cache(_CACHE_SIZE)
def _identified(folded: bytes) -> tuple[tuple[str, ...], int]:
    """The template of a folded line and its id."""
    words = _template(folded.decode(errors="replace"))
    return words, _id(words)


@lru_cache(_CACHE_SIZE)
def _words_of_folded(folded: bytes) -> frozenset[str]:
    """The words of a folded line."""
    return frozenset(_words(folded.decode(errors="replace").lower()))


def _template(line: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_words(line[:_MAX_LINE].lower())))[:_MAX_WORDS]


def _id(words: Iterable[str]) -> int:
    digest = hashlib.blake2b(" ".join(words).encode(), digest_size=_ID_BYTES).digest()
    return int.from_bytes(digest, "big", signed=True)


def _lines(log: JobLog, errors: Iterable[ErrorGroup], crash: CrashReason | None) -> Iterator[bytes]:
    """Folded lines of a log: those of its errors, then its tail from the end on."""
    numbered = [(error.line, _ERROR_LINES) for error in errors]
    if crash is not None and crash.line is not None:
        numbered.insert(0, (crash.line, _CRASH_LINES))
    if numbered:
        lines = log_messages.full_text(log).split("\n")
        for first, count in numbered:
            yield from map(_fold, lines[first - 1 : first - 1 + count])
    yield from reversed(_fold(log.tail or log.head).split(b"\n"))


def _words(folded: str) -> list[str]:
    return [word for word in _WORD.findall(folded) if word not in _NO_WORDS]
