"""Base of the redaction rules: linear-time patterns, placeholders, spans, and what a rule consists of.

A rule is a trigger, which finds a place, and a function that expands it to the spans to replace. The
triggers of all rules form one expression that runs over the text once. For linear time, a trigger has no
unbounded part that may still fail, blanks aside, and no look-behind; an expand function looks at a bounded
window around the trigger, or replaces all that it looked at.
"""

import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple, Protocol, cast

import re2  # type: ignore[import-untyped]

# Bytes of normalized text for characters that resemble no ASCII character.
OTHER_LETTER = 0xFF
OTHER_SIGN = 0xFE
COMBINING_MARK = 0xFD

_BEYOND_ASCII = bytes(code for code in range(0x80, 0x100) if code != OTHER_SIGN)
DIGITS = b"0123456789"
ALPHANUMERIC = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" + DIGITS
# Characters of words in any language.
WORD = ALPHANUMERIC + b"_" + _BEYOND_ASCII

# No name or address that is replaced as a whole is longer.
_MAX_RUN = 255

_ALPHANUMERIC_BYTES = frozenset(ALPHANUMERIC)
_BACKSLASH = ord("\\")
_ESCAPED_LETTERS = frozenset(b"nrt")

# The automaton of all triggers has many states; with less memory RE2 falls back to a slower engine.
_RE2_MEMORY_BYTES = 64 << 20


class Placeholder(StrEnum):
    """Replacement of a part of a text; it says what was there."""

    HOST = "[host]"
    IP = "[ip]"
    USER = "[user]"
    EMAIL = "[email]"
    SECRET = "[secret]"  # noqa: S105 - a placeholder
    KEY = "[key]"
    OMITTED = "[omitted]"


# One or more placeholders, as a pattern for normalized text.
PLACEHOLDERS = rb"(?:" + b"|".join(re.escape(placeholder.encode()) for placeholder in Placeholder) + rb")+"


class Span(NamedTuple):
    """Part of a normalized text, and the placeholder that replaces it."""

    start: int
    end: int
    placeholder: str


# (normalized text, end of the last span, start and end of the trigger) → the spans to replace, ascending and
# not before the end of the last span; none if the trigger is not sensitive here.
Expand = Callable[[bytes, int, int, int], tuple[Span, ...]]


# (normalized text, start of a trigger that does not apply) → where the search goes on.
Resume = Callable[[bytes, int], int]


class Rule(NamedTuple):
    """Kind of sensitive text. `resume` is for triggers that can contain others."""

    trigger: bytes
    expand: Expand
    resume: Resume | None = None


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


def compile_linear(pattern: bytes) -> Pattern:
    """Compile a pattern with RE2, one byte per character. Groups are not captured, which is fastest."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _RE2_MEMORY_BYTES
    options.never_capture = True
    return cast(Pattern, re2.compile(pattern, options))


def run_start(text: bytes, min_start: int, at: int, characters: bytes, limit: int = _MAX_RUN) -> int:
    """Start of the run of `characters` that ends at `at`, not before `min_start`.

    The `n`, `r` or `t` of a JSON escape is left to its backslash.
    """
    window = text[max(min_start, at - limit) : at]
    start = at - len(window) + len(window.rstrip(characters))
    if start < at and is_escaped_letter(text, min_start, start):
        return start + 1
    return start


def run_end(text: bytes, at: int, characters: bytes, limit: int = _MAX_RUN) -> int:
    """End of the run of `characters` that starts at `at`."""
    window = text[at : at + limit]
    return at + len(window) - len(window.lstrip(characters))


def is_escaped_letter(text: bytes, min_start: int, at: int) -> bool:
    """Whether the letter at `at` belongs to an escape such as `\\n` of JSON or Python."""
    return at > min_start and text[at - 1] == _BACKSLASH and text[at] in _ESCAPED_LETTERS


def follows_word(text: bytes, min_start: int, at: int) -> bool:
    """Whether a letter or digit precedes `at`; the end of the last span counts as a boundary."""
    if at <= min_start or text[at - 1] not in _ALPHANUMERIC_BYTES:
        return False
    return not is_escaped_letter(text, min_start, at - 1)


def precedes_word(text: bytes, at: int) -> bool:
    """Whether a letter or digit is at `at`."""
    return at < len(text) and text[at] in _ALPHANUMERIC_BYTES


def line_end(text: bytes, start: int) -> int:
    """End of the line that contains `start`."""
    end = text.find(b"\n", start)
    return len(text) if end < 0 else end


def resume_within(_text: bytes, start: int) -> int:
    """Go on right behind the first character of a trigger."""
    return start + 1


def span(start: int, end: int, placeholder: Placeholder) -> tuple[Span, ...]:
    """A span, or none if it is empty."""
    return (Span(start, end, placeholder),) if start < end else ()
