"""Parsers of single values of a document, each with a description for docs/data-policy.md.

DQM² writes numbers as JSON numbers or as text, so both are accepted everywhere. Numbers that PostgreSQL can't
store and digits other than ASCII are rejected.
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

# Highest values of PostgreSQL's integers; the first is that of the number of a run.
INT4_MAX = 2**31 - 1
INT8_MAX = 2**63 - 1
BYTES_PER_KB = 1024
# Longer series and lists are rejected as a whole; no run is that long.
MAX_ENTRIES = 100_000

# The smallest rate that a 4-byte float column holds.
_MIN_RATE = 1e-37
MIN_UNIX_S = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_MAX_CLOCK_LEAD = timedelta(days=1)

# An integer if no group matched.
_DECIMAL = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")
_KILOBYTES = re.compile(r"([0-9]{1,15}) kB")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_RUN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")
# A release, an integration build or a named build, followed by its pull requests.
_CMSSW_VERSION = re.compile(r"[0-9][A-Za-z0-9_-]{2,159}")
_SOURCE_RUN = re.compile(r"run([0-9]{1,10})")
_MAX_LUMISECTION_S = 1000
# Linux's PATH_MAX.
_MAX_PATH_LENGTH = 4096
_MAX_ARGUMENTS = 1000


@dataclass(frozen=True, slots=True)
class ParseContext:
    """Context of a parser: the time, and whether redaction leaves a word unchanged."""

    now: datetime
    is_unredacted: Callable[[str], bool]

    @property
    def max_unix_s(self) -> float:
        """Latest accepted time in unix seconds: a day ahead, to allow for wrong clocks."""
        return (self.now + _MAX_CLOCK_LEAD).timestamp()


@dataclass(frozen=True, slots=True)
class ParseResult(Generic[T]):
    """Parsed value; `is_complete` is false if all or a part of the input was rejected."""

    value: T | None
    is_complete: bool


@dataclass(frozen=True, slots=True)
class FieldParser(Generic[T]):
    """Parser of a value, and a description of the values that it accepts."""

    description: str
    parse: Callable[[object, ParseContext], ParseResult[T]]


def parse_number(value: object) -> int | float | None:
    """Finite number from a JSON number or its text; booleans are rejected."""
    if isinstance(value, str):
        # Most are plain digits or times, 1663242282.452877; this is faster than the regular expression.
        if len(value) < 19 and value.isascii():
            if value.isdigit():
                return int(value)
            whole, _, fraction = value.partition(".")
            if whole.isdigit() and fraction.isdigit():
                return float(value)
        decimal = _DECIMAL.fullmatch(value)
        if decimal is None:
            return None
        value = int(value) if decimal.lastindex is None else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def parse_integer(value: object, minimum: int, maximum: int) -> int | None:
    """Integer within inclusive bounds."""
    if type(value) is int:
        return value if minimum <= value <= maximum else None
    number = parse_number(value)
    if number is None or not minimum <= number <= maximum:
        return None
    return int(number) if number == int(number) else None


def parse_unix_time(value: object, max_unix_s: float) -> float | None:
    """Time in unix seconds, from the year 2000 on."""
    number = parse_number(value)
    return float(number) if number is not None and MIN_UNIX_S <= number <= max_unix_s else None


def _scalar(description: str, parse: Callable[[object], T | None]) -> FieldParser[T]:
    return _contextual(description, lambda value, _context: parse(value))


def _contextual(description: str, parse: Callable[[object, ParseContext], T | None]) -> FieldParser[T]:
    def result(value: object, context: ParseContext) -> ParseResult[T]:
        parsed = parse(value, context)
        return ParseResult(parsed, parsed is not None)

    return FieldParser(description, result)


def _integer(description: str, minimum: int, maximum: int) -> FieldParser[int]:
    return _scalar(description, lambda value: parse_integer(value, minimum, maximum))


def enum_value(words: type[Word]) -> FieldParser[Word]:
    """Parser of the values of an enumeration."""
    accepted = {word.value: word for word in words}
    listed = ", ".join(f"`{word}`" for word in accepted)
    return _scalar(f"one of {listed}", lambda value: accepted.get(value) if isinstance(value, str) else None)


def _rate(value: object) -> float | None:
    number = parse_number(value)
    if number is None or not 0 <= number <= INT8_MAX:
        return None
    return 0.0 if number < _MIN_RATE else float(number)


def _lumisection_length(value: object) -> float | None:
    number = parse_number(value)
    return float(number) if number is not None and 0 < number <= _MAX_LUMISECTION_S else None


def _time(value: object, context: ParseContext) -> datetime | None:
    unix_s = parse_unix_time(value, context.max_unix_s)
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC)


def _document_id(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_PATH_LENGTH else None


def _matching_text(pattern: re.Pattern[str], value: object, context: ParseContext) -> str | None:
    """A text that matches a pattern and that redaction leaves unchanged."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        return None
    return value if context.is_unredacted(value) else None


def _name(value: object, context: ParseContext) -> str | None:
    return _matching_text(_NAME, value, context)


def _run_key(value: object, context: ParseContext) -> str | None:
    return _matching_text(_RUN_KEY, value, context)


def _kilobytes(maximum: int) -> FieldParser[int]:
    def parse(value: object) -> int | None:
        match = _KILOBYTES.fullmatch(value) if isinstance(value, str) else None
        return parse_integer(match[1] if match else value, 0, maximum)

    return _scalar("`362744 kB`, or a number", parse)


def _bytes_or_unknown(value: object, _context: ParseContext) -> ParseResult[int]:
    number = parse_integer(value, -1, INT8_MAX)
    return ParseResult(None if number == -1 else number, is_complete=number is not None)


def _source_run(value: object) -> int | None:
    if not isinstance(value, str) or len(value) > _MAX_PATH_LENGTH:
        return None
    match = _SOURCE_RUN.fullmatch(value.rstrip("/").rpartition("/")[2])
    return parse_integer(match[1], 0, INT4_MAX) if match else None


def _arguments(value: object) -> list[str] | None:
    """Arguments of a command line that are no longer than a path can be."""
    if not isinstance(value, list) or len(value) > _MAX_ARGUMENTS:
        return None
    return [text for text in value if isinstance(text, str) and len(text) <= _MAX_PATH_LENGTH]


def _cmssw_version(value: object, context: ParseContext) -> ParseResult[str]:
    if (arguments := _arguments(value)) is None:
        return ParseResult(None, is_complete=False)
    parts = (part for argument in arguments if "CMSSW_" in argument for part in argument.split("/"))
    path_part = next((part for part in parts if "CMSSW_" in part), None)
    if path_part is None:
        return ParseResult(None, is_complete=True)
    version = _matching_text(_CMSSW_VERSION, path_part.partition("CMSSW_")[2], context)
    return ParseResult(version, is_complete=version is not None)


def _run_key_argument(value: object, context: ParseContext) -> ParseResult[str]:
    if (arguments := _arguments(value)) is None:
        return ParseResult(None, is_complete=False)
    argument = next((argument for argument in arguments if argument.startswith("runkey=")), None)
    if argument is None:
        return ParseResult(None, is_complete=True)
    key = _run_key(argument.removeprefix("runkey="), context)
    return ParseResult(key, is_complete=key is not None)


RUN = _integer("a number from 0 to 2³¹ − 1", 0, INT4_MAX)
LUMISECTION = RUN
COUNT = _integer("a number from 0 to 2⁶³ − 1", 0, INT8_MAX)
EXIT_CODE = _integer("a number from −2³¹ to 2³¹ − 1", -(2**31), INT4_MAX)
INPUT_STATE = _integer("`0`, `1` or `2`", 0, 2)
RATE = _scalar("a number, not below 0", _rate)
LUMISECTION_LENGTH = _scalar("seconds, up to 1000", _lumisection_length)
TIME = _contextual("unix time from 2000 to a day ahead", _time)
DOCUMENT_ID = _scalar("a text; only its keyed hash leaves P5", _document_id)
NAME = _contextual("`[A-Za-z0-9_-]{1,128}` that redaction leaves unchanged", _name)
RUN_KEY = _contextual("`[A-Za-z0-9_.-]{1,40}` that redaction leaves unchanged", _run_key)
CMSSW_VERSION = FieldParser(
    "the rest of a path component behind `CMSSW_`: `[0-9][A-Za-z0-9_-]{2,159}` that redaction leaves "
    "unchanged",
    _cmssw_version,
)
RUN_KEY_ARGUMENT = FieldParser(
    "the value of `runkey=`: `[A-Za-z0-9_.-]{1,40}` that redaction leaves unchanged", _run_key_argument
)
SOURCE_RUN = _scalar("the number in a last path component `run…`", _source_run)
# Stored in kilobytes and in bytes, respectively.
JOB_KILOBYTES = _kilobytes(INT4_MAX)
MACHINE_KILOBYTES = _kilobytes(INT8_MAX // BYTES_PER_KB)
BYTES = FieldParser("a number from 0 to 2⁶³ − 1, or −1 for unknown", _bytes_or_unknown)
