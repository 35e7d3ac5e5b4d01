"""Base of the redaction rules: placeholders, spans, and what a rule consists of.

A rule is a trigger, which finds a place, and a function that expands it to the spans to replace. The
triggers of all rules form one expression that runs over the text once. For linear time, a trigger has no
look-behind. An unbounded part may be followed by something that can fail only if the trigger cannot begin
again within that part, or only a few times: blanks, backslashes, one word. An expand function looks at a
bounded window around the trigger, or replaces all that it looked at.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

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


# (normalized text, start of a trigger that does not apply) → position at which the search continues.
Resume = Callable[[bytes, int], int]


class Rule(NamedTuple):
    """Kind of sensitive text. `resume` is for triggers that can contain others.

    `literals` are the bytes of the trigger that the configuration adds to it.
    """

    trigger: bytes
    expand: Expand
    resume: Resume | None = None
    literals: int = 0


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
