"""The shapes that values of a document must have to get past the allowlist, each with the words that say so.

DQM² writes numbers as JSON numbers or as text, so every number is taken as either. Nothing is taken that
PostgreSQL could not hold, and only ASCII digits are digits. A value of another shape reads as `None`.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")
Word = TypeVar("Word", bound=StrEnum)

INT4_MAX = 2**31 - 1
INT8_MAX = 2**63 - 1
PAGE_KB = 4
# The database's four bytes hold nothing that is nearer to 0.
_LEAST_RATE = 1e-37
BYTES_PER_KB = 1024
# Series and lists that are longer than any run's are no series.
MAX_ENTRIES = 100_000

_EARLIEST_S = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_CLOCK_MAY_BE_AHEAD = timedelta(days=1)

_WHOLE = re.compile(r"-?[0-9]{1,19}")
_DECIMAL = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")
_KILOBYTES = re.compile(r"([0-9]{1,15}) kB")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_RUN_KEY = re.compile(r"[a-z0-9_]{1,40}")
# Release, then pull requests and the suffixes that releases have; a free word could be anything.
_CMSSW_VERSION = re.compile(
    r"[0-9]{1,3}_[0-9]{1,3}_(?:[0-9]{1,3}|X)"
    r"(?:_(?:[0-9]{1,7}|(?:pre|patch|hltpatch|cand|ROOT|SLHC|HI)[0-9]{0,3}|DEBUG|ASAN|UBSAN|TSAN|CLANG|LTO|GPU))*"
)
_SOURCE_RUN = re.compile(r"run([0-9]{1,10})")
_LONGEST_VERSION = 200
_LONGEST_LUMISECTION_S = 1000
_LONGEST_PATH = 4096
_MOST_ARGUMENTS = 1000


@dataclass(frozen=True, slots=True)
class ParseContext:
    """What a shape may need to know besides the value: the time, and whether redaction leaves a word."""

    now: datetime
    passes_redaction: Callable[[str], bool]

    @property
    def latest_s(self) -> float:
        """The latest time that a document can tell of, in unix seconds: a day ahead, for wrong clocks."""
        return (self.now + _CLOCK_MAY_BE_AHEAD).timestamp()


@dataclass(frozen=True, slots=True)
class ParseResult(Generic[T]):
    """What was taken of a value; `is_complete` is false if some or all of it had another shape."""

    value: T | None
    is_complete: bool


@dataclass(frozen=True, slots=True)
class FieldParser(Generic[T]):
    """What a value must look like: how it is read, and in words for the table of docs/data-policy.md."""

    words: str
    read: Callable[[object, ParseContext], ParseResult[T]]


def number(value: object) -> int | float | None:
    """A finite number from a JSON number or its text; a truth value is none."""
    if isinstance(value, str):
        # Most are plain digits, which are told without the cost of an expression.
        if (len(value) < 19 and value.isascii() and value.isdigit()) or _WHOLE.fullmatch(value):
            return int(value)
        value = float(value) if _DECIMAL.fullmatch(value) else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def whole_number(value: object, least: int, most: int) -> int | None:
    """A whole number within bounds."""
    found = number(value)
    if found is None or not least <= found <= most:
        return None
    whole = int(found)
    return whole if whole == found else None


def unix_time(value: object, latest_s: float) -> float | None:
    """A time in unix seconds, from the year 2000 on."""
    found = number(value)
    return float(found) if found is not None and _EARLIEST_S <= found <= latest_s else None


def _scalar(words: str, read: Callable[[object], T | None]) -> FieldParser[T]:
    return _weighed(words, lambda value, _context: read(value))


def _weighed(words: str, read: Callable[[object, ParseContext], T | None]) -> FieldParser[T]:
    def taken(value: object, context: ParseContext) -> ParseResult[T]:
        found = read(value, context)
        return ParseResult(found, found is not None)

    return FieldParser(words, taken)


def whole(words: str, least: int, most: int) -> FieldParser[int]:
    """The shape of a whole number within bounds."""
    return _scalar(words, lambda value: whole_number(value, least, most))


def word_of(words: type[Word]) -> FieldParser[Word]:
    """The shape of one of some words."""
    accepted = {word.value: word for word in words}
    listed = ", ".join(f"`{word}`" for word in accepted)
    return _scalar(f"one of {listed}", lambda value: accepted.get(value) if isinstance(value, str) else None)


def _rate(value: object) -> float | None:
    found = number(value)
    if found is None or not 0 <= found <= INT8_MAX:
        return None
    return 0.0 if found < _LEAST_RATE else float(found)


def _seconds(value: object) -> float | None:
    found = number(value)
    return float(found) if found is not None and 0 < found <= _LONGEST_LUMISECTION_S else None


def _time(value: object, context: ParseContext) -> datetime | None:
    found = unix_time(value, context.latest_s)
    return None if found is None else datetime.fromtimestamp(found, UTC)


def _document_id(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_PATH else None


def _name(value: object, context: ParseContext) -> str | None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        return None
    return value if context.passes_redaction(value) else None


def _run_key(value: object) -> str | None:
    return value if isinstance(value, str) and _RUN_KEY.fullmatch(value) else None


def _kilobytes(most: int) -> FieldParser[int]:
    def read(value: object) -> int | None:
        found = _KILOBYTES.fullmatch(value) if isinstance(value, str) else None
        return whole_number(found[1] if found else value, 0, most)

    return _scalar("`362744 kB`, or a number", read)


def _bytes_or_unknown(value: object, _context: ParseContext) -> ParseResult[int]:
    found = whole_number(value, -1, INT8_MAX)
    return ParseResult(None if found == -1 else found, is_complete=found is not None)


def _source_run(value: object) -> int | None:
    if not isinstance(value, str) or len(value) > _LONGEST_PATH:
        return None
    found = _SOURCE_RUN.fullmatch(value.rstrip("/").rpartition("/")[2])
    return whole_number(found[1], 0, INT4_MAX) if found else None


def _arguments(value: object) -> list[str] | None:
    """The arguments of a command line; a path longer than any of Linux is none."""
    if not isinstance(value, list) or len(value) > _MOST_ARGUMENTS:
        return None
    return [text for text in value if isinstance(text, str) and len(text) <= _LONGEST_PATH]


def _cmssw_version(value: object, _context: ParseContext) -> ParseResult[str]:
    if (arguments := _arguments(value)) is None:
        return ParseResult(None, is_complete=False)
    parts = (part for argument in arguments if "CMSSW_" in argument for part in argument.split("/"))
    path_part = next((part for part in parts if "CMSSW_" in part), None)
    if path_part is None:
        return ParseResult(None, is_complete=True)
    version = path_part.partition("CMSSW_")[2]
    fits = len(version) <= _LONGEST_VERSION and _CMSSW_VERSION.fullmatch(version)
    return ParseResult(version if fits else None, is_complete=bool(fits))


def _run_key_argument(value: object, _context: ParseContext) -> ParseResult[str]:
    if (arguments := _arguments(value)) is None:
        return ParseResult(None, is_complete=False)
    given = next((argument for argument in arguments if argument.startswith("runkey=")), None)
    if given is None:
        return ParseResult(None, is_complete=True)
    key = _run_key(given.removeprefix("runkey="))
    return ParseResult(key, is_complete=key is not None)


RUN = whole("a number from 0 to 2³¹ − 1", 0, INT4_MAX)
LUMISECTION = RUN
COUNT = whole("a number from 0 to 2⁶³ − 1", 0, INT8_MAX)
EXIT_CODE = whole("a number from −2³¹ to 2³¹ − 1", -(2**31), INT4_MAX)
INPUT_STATE = whole("`0`, `1` or `2`", 0, 2)
RATE = _scalar("a number, not below 0", _rate)
LUMISECTION_LENGTH = _scalar("seconds, up to 1000", _seconds)
TIME = _weighed("unix time from 2000 to a day ahead", _time)
DOCUMENT_ID = _scalar("a text, of which only the keyed hash leaves", _document_id)
NAME = _weighed("`[A-Za-z0-9_-]{1,128}` that redaction leaves as it is", _name)
RUN_KEY = _scalar("`[a-z0-9_]{1,40}`", _run_key)
CMSSW_VERSION = FieldParser(
    "what follows `CMSSW_` in a part of a path: numbers joined by `_`, with suffixes of releases",
    _cmssw_version,
)
RUN_KEY_ARGUMENT = FieldParser("what follows `runkey=`: `[a-z0-9_]{1,40}`", _run_key_argument)
SOURCE_RUN = _scalar("the number of a last path component `run…`", _source_run)
# Kept in kilobytes, and in bytes.
JOB_KILOBYTES = _kilobytes(INT4_MAX)
MACHINE_KILOBYTES = _kilobytes(INT8_MAX // BYTES_PER_KB)
BYTES = FieldParser("a number from 0 to 2⁶³ − 1, or −1 for unknown", _bytes_or_unknown)
