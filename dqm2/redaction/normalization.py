"""Text as redaction reads it: one byte a character, look-alikes and escapes told as what they stand for.

A host name may come in fullwidth letters, with a Cyrillic `с` or a typographic hyphen in it, percent-encoded
by a URL or escaped by JSON. Rules that knew all of that could not be read; so text is folded to plain
characters first, the rules see the folded text, and what they find is replaced in the original.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from dqm2.redaction.linear import linear

# Control characters other than tab and newline.
_CONTROLS = bytes((*range(0x09), *range(0x0B, 0x20), 0x7F))
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# A terminal's colours go as a whole: without its first character, the rest would stand in the text.
_COLOUR = re.compile(r"\x1b\[[0-9;?]{0,32}[A-Za-z]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
# `%2D`, `%252D` (encoded twice), `\u002d`, `\x2d`.
_ENCODED = rb"%(?:25){0,8}[0-9A-Fa-f]{2}"
_ESCAPED = rb"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})"
_ESCAPE = linear(_ENCODED + rb"|\\{0,7}" + _ESCAPED)
# Whether there is any is faster told of each: what a single character begins is found by that character.
_HAS_ESCAPES = (linear(_ENCODED).search, linear(_ESCAPED).search)

# What a character that looks like no plain one is told as: one of a word, or a sign.
A_LETTER = 0xFF
A_SIGN = 0xFE

# Look-alikes that Unicode itself does not relate to the plain character.
_LOOKALIKES = {
    "a": "аɑα", "b": "ЬЪ", "c": "сϲ", "d": "ԁ", "e": "еєε", "g": "ɡց", "h": "һհ", "i": "іıι", "j": "јϳ",
    "k": "кκ", "l": "ӏǀ", "m": "м", "n": "ոη", "o": "оοօ", "p": "рρ", "q": "ԛգ", "r": "гꭇ", "s": "ѕꜱ",
    "t": "тτ", "u": "υսᴜ", "v": "νѵ", "w": "ԝѡ", "x": "хχ", "y": "уγү",
    "A": "АΑ", "B": "ВΒ", "C": "СϹ", "E": "ЕΕ", "H": "НΗ", "I": "ІΙӀ", "J": "Ј", "K": "КΚ", "M": "МΜ",
    "N": "Ν", "O": "ОΟ", "P": "РΡ", "S": "Ѕ", "T": "ТΤ", "X": "ХΧ", "Y": "ҮΥУ", "Z": "Ζ",
    "-": "‐‑‒–—―−⁃˗", ".": "․。｡", ":": "∶꞉։", "/": "∕⁄", '"': "“”„‟«»", "'": "‘’‚‛‹›",
}  # fmt: skip
_PLAIN = {ord(alike): ord(plain) for plain, alikes in _LOOKALIKES.items() for alike in alikes}


class Part(NamedTuple):
    """A part of a folded text, and the mark that is put in its place."""

    start: int
    end: int
    mark: str


@dataclass(frozen=True, slots=True)
class Folded:
    """A text and its folded form, one byte for each of its characters or escapes."""

    source: str
    text: bytes
    # Where escapes end in the folded text, and by how much the source is ahead from there on.
    _escape_ends: tuple[int, ...] = ()
    _ahead: tuple[int, ...] = (0,)

    def with_marks(self, parts: Iterable[Part]) -> str:
        """The source with each part replaced by its mark; `parts` are ascending and do not overlap."""
        pieces: list[str] = []
        rest = 0
        for start, end, mark in parts:
            pieces += self.source[rest : self._origin(start)], mark
            rest = self._origin(end)
        pieces.append(self.source[rest:])
        return "".join(pieces)

    def _origin(self, position: int) -> int:
        return (
            position + self._ahead[bisect_right(self._escape_ends, position)]
            if self._escape_ends
            else position
        )


def cleaned(text: str) -> str:
    """The text without control and format characters; lone surrogates become U+FFFD."""
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    if text.isascii():
        kept = text.encode().translate(None, _CONTROLS)
        return text if len(kept) == len(text) else kept.decode()
    return _BEYOND_ASCII.sub(lambda run: run[0].translate(_SEEN), _CONTROL.sub("", text))


def fold(text: str) -> Folded:
    """The folded form of a text that is `cleaned`."""
    plain = text if text.isascii() else _BEYOND_ASCII.sub(lambda run: run[0].translate(_FOLDED), text)
    folded: bytes = plain.encode("latin-1")
    has_escapes = any(search(folded) for search in _HAS_ESCAPES)
    escapes = [escape.span() for escape in _ESCAPE.finditer(folded)] if has_escapes else []
    if not escapes:
        return Folded(text, folded)
    pieces: list[bytes] = []
    rest = 0
    for start, end in escapes:
        pieces += folded[rest:start], _unescaped(folded[start:end])
        rest = end
    pieces.append(folded[rest:])
    ahead = tuple(accumulate((end - start - 1 for start, end in escapes), initial=0))
    ends = tuple(end - grown for (_, end), grown in zip(escapes, ahead[1:], strict=True))
    return Folded(text, b"".join(pieces), ends, ahead)


def _unescaped(escape: bytes) -> bytes:
    code = int(escape[-4:] if b"u" in escape else escape[-2:], 16)
    return _FIRST_CODES[code : code + 1] or bytes((_folded(chr(code)),))


class _PerCharacter(dict[int, int | None]):
    """A table for `str.translate` that is worked out at need, and keeps no more than one plane of Unicode."""

    def __init__(self, work_out: Callable[[str], int | None]) -> None:
        super().__init__()
        self._work_out = work_out

    def __missing__(self, code: int) -> int | None:
        value = self._work_out(chr(code))
        if code < 0x10000:
            self[code] = value
        return value


def _seen(character: str) -> int | None:
    code = ord(character)
    if 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF:  # variation selectors
        return None
    match unicodedata.category(character):
        case "Cc" | "Cf":
            return None
        case "Cs":
            return 0xFFFD
    return code


def _folded(character: str) -> int:
    if (plain := _PLAIN.get(ord(character))) is not None:
        return plain
    if (digit := unicodedata.digit(character, None)) is not None:
        return ord("0") + digit
    # The character without accent, width or style: `é` is `e`, `ｆ` is `f`, a no-break space is a space.
    base = unicodedata.normalize("NFKD", character)[0]
    if " " <= base <= "~" or base in "\t\n":
        return ord(base)
    if (plain := _PLAIN.get(ord(base))) is not None:
        return plain
    category = unicodedata.category(base)
    if category.startswith("Z"):
        return ord("\n") if category in ("Zl", "Zp") else ord(" ")
    return A_LETTER if category[0] in "LMN" else A_SIGN


_SEEN = _PerCharacter(_seen)
_FOLDED = _PerCharacter(_folded)
_FIRST_CODES = bytes(_folded(chr(code)) for code in range(0x100))
