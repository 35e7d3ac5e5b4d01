"""What a rule of redaction is: a trigger that finds a place, and a function that tells how far it reaches.

Triggers are joined into one expression that runs over the text once. So that a search never looks at a
stretch of text more than a few times, a trigger has no open-ended part that may still fail, and no look at
what stands before it: that is the function's, which sees the text around.
"""

from collections.abc import Callable
from typing import NamedTuple

from dqm2.redaction.normalization import A_SIGN, Part

_BEYOND_ASCII = bytes(code for code in range(0x80, 0x100) if code != A_SIGN)
LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = b"0123456789"
ALPHANUMERIC = LETTERS + DIGITS
# What words of any language are made of, in a folded text.
WORD = ALPHANUMERIC + b"_" + _BEYOND_ASCII

# No name, address or word that a rule takes in as a whole is longer.
_LONGEST = 255

_ALPHANUMERIC_BYTES = frozenset(ALPHANUMERIC)
_BACKSLASH = ord("\\")
_ESCAPED_LETTERS = frozenset(b"nrt")

# How far to replace around a trigger: (folded text, where what was replaced last ends, the trigger's start
# and end) → the parts, ascending, none of them before what was replaced last. No parts: it was none.
Reach = Callable[[bytes, int, int, int], tuple[Part, ...]]


class Rule(NamedTuple):
    """One kind of sensitive text: the expression of its trigger, and how far it reaches."""

    trigger: bytes
    reach: Reach


def run_start(text: bytes, free: int, at: int, characters: bytes) -> int:
    """Where the run of `characters` that ends at `at` starts, not before `free`.

    An `n`, `r` or `t` that is a line break or tab escaped by JSON is left to its backslash.
    """
    stretch = text[max(free, at - _LONGEST) : at]
    start = at - len(stretch) + len(stretch.rstrip(characters))
    if start < at and is_escaped_letter(text, free, start):
        return start + 1
    return start


def run_end(text: bytes, at: int, characters: bytes) -> int:
    """Where the run of `characters` that starts at `at` ends."""
    stretch = text[at : at + _LONGEST]
    return at + len(stretch) - len(stretch.lstrip(characters))


def is_escaped_letter(text: bytes, free: int, at: int) -> bool:
    """Whether `at` is the letter of an escape such as `\\n`, as JSON and Python's `repr` write them."""
    return at > free and text[at - 1] == _BACKSLASH and text[at] in _ESCAPED_LETTERS


def follows_word(text: bytes, free: int, at: int) -> bool:
    """Whether a letter or digit stands before `at`; a mark, which ends what was replaced last, is none."""
    if at <= free or text[at - 1] not in _ALPHANUMERIC_BYTES:
        return False
    return not is_escaped_letter(text, free, at - 1)


def precedes_word(text: bytes, at: int) -> bool:
    """Whether a letter or digit stands at `at`."""
    return at < len(text) and text[at] in _ALPHANUMERIC_BYTES
