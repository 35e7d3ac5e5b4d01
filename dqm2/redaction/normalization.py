"""Normalization of text for the redaction rules: one byte per character, look-alikes and escapes resolved.

A host name may be written in fullwidth letters, with a Cyrillic `с` or a typographic hyphen, percent-encoded
in a URL, escaped by JSON or as an HTML entity. Rules for all of that would be unreadable. So the rules see a
text of plain characters, and what they find is replaced in the original.
"""

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from dqm2.linear_patterns import compile_search
from dqm2.redaction.rules_base import COMBINING_MARK, OTHER_LETTER, OTHER_SIGN, Span

# Control characters other than tab and newline.
_CONTROLS = bytes((*range(0x09), *range(0x0B, 0x20), 0x7F))
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# Control sequences of ECMA-48, 7 and 8 bit: control strings (window titles …) up to their terminator, CSI
# (colours, cursor), character sets and other escapes. The quantifiers are possessive: no backtracking.
_TERMINAL_SEQUENCE = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\n\x80-\x9f]*+(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|\x1b[ -/]*+[0-~]"
)
_ESCAPE_CHARACTER = "\x1b"
_TERMINAL_INTRODUCER = re.compile(r"[\x1b\x90\x98\x9b\x9d-\x9f]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")

# `%2D`, `%252D` (encoded twice); `\u002d`, `\x2d`; `&quot;`, `&#39;`, `&amp;quot;`.
_PERCENT = rb"%(?:25){0,8}[0-9A-Fa-f]{2}"
_BACKSLASH = rb"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})"
_ENTITY_NAME = rb"(?:quot|apos|lt|gt|nbsp|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});"
_ENTITY = rb"&(?:amp;){0,8}" + _ENTITY_NAME + rb"|&(?:amp;){1,8}"
_ESCAPE = _PERCENT + rb"|\\{0,7}" + _BACKSLASH + rb"|" + _ENTITY
# Terminal sequences as source code and JSON write them: `\x1b[31m`, `\u001b(B`, `\033[0m`.
_WRITTEN_SEQUENCE = rb"\\{1,8}(?:x1[bB]|u001[bB]|033|e)(?:\[[0-9;?]{0,16}[A-Za-z]|[()][0-9A-Z])"
_TRAILER = rb"(?:\x%02x|%b)" % (COMBINING_MARK, _WRITTEN_SEQUENCE)
_ESCAPES = re.compile(_ESCAPE)
# A character or escape, with what is invisible behind it.
_ESCAPES_AND_TRAILERS = re.compile(rb"(?:%b)%b{0,16}|(?s:.)%b{1,16}" % (_ESCAPE, _TRAILER, _TRAILER))
_TRAILERS = re.compile(_TRAILER)
_WRITTEN_SEQUENCE_HINTS = (b"1b", b"1B", b"\\033", b"\\e")
# Searching for each alone is faster than for all: RE2 then looks for its first character.
_HAS_ESCAPES = (
    compile_search(_PERCENT),
    compile_search(_BACKSLASH),
    compile_search(rb"&(?:amp|quot|apos|lt|gt|nbsp|#)"),
)

# Look-alikes that Unicode itself does not relate to the ASCII character.
_LOOKALIKES = {
    "a": "аɑα", "b": "ЬЪ", "c": "сϲ", "d": "ԁ", "e": "еєε", "g": "ɡց", "h": "һհ", "i": "іıι", "j": "јϳ",
    "k": "кκ", "l": "ӏǀ", "m": "м", "n": "ոη", "o": "оοօ", "p": "рρ", "q": "ԛգ", "r": "гꭇ", "s": "ѕꜱ",
    "t": "тτ", "u": "υսᴜ", "v": "νѵ", "w": "ԝѡ", "x": "хχ", "y": "уγү",
    "A": "АΑ", "B": "ВΒ", "C": "СϹ", "E": "ЕΕ", "H": "НΗ", "I": "ІΙӀ", "J": "Ј", "K": "КΚ", "M": "МΜ",
    "N": "Ν", "O": "ОΟ", "P": "РΡ", "S": "Ѕ", "T": "ТΤ", "X": "ХΧ", "Y": "ҮΥУ", "Z": "Ζ",
    "-": "‐‑‒–—―−⁃˗", ".": "․。｡", ":": "∶꞉։", "/": "∕⁄", '"': "“”„‟«»", "'": "‘’‚‛‹›", "=": "═꞊",
}  # fmt: skip
_ASCII = {ord(alike): ord(plain) for plain, alikes in _LOOKALIKES.items() for alike in alikes}
# Invisible characters that are neither controls nor format characters: fillers and variation selectors.
_INVISIBLE = frozenset(
    (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, 0xFFA0)
) | frozenset((*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))


@dataclass(frozen=True, slots=True)
class NormalizedText:
    """A text and its normalized form, one byte for each of its characters or escapes."""

    source: str
    text: bytes
    # Ends of the escapes in the normalized text, and by how much the source is ahead behind each.
    _escape_ends: tuple[int, ...] = ()
    _offsets: tuple[int, ...] = (0,)

    def replace(self, spans: Iterable[Span]) -> str:
        """The source with each span replaced by its placeholder; spans are ascending and do not overlap."""
        source, pieces = self.source, list[str]()
        position = 0
        for start, end, placeholder in self._in_source(spans) if self._escape_ends else spans:
            pieces += source[position:start], placeholder
            position = end
        pieces.append(source[position:])
        return "".join(pieces)

    def _in_source(self, spans: Iterable[Span]) -> Iterator[Span]:
        for start, end, placeholder in spans:
            yield Span(self._source_position(start), self._source_position(end), placeholder)

    def _source_position(self, position: int) -> int:
        return position + self._offsets[bisect_right(self._escape_ends, position)]


def strip_controls(text: str) -> str:
    """Drop terminal sequences, control and invisible characters; lone surrogates become U+FFFD."""
    is_ascii = text.isascii()
    # Searching for one character is 200 times as fast as for a class of them.
    if _ESCAPE_CHARACTER in text if is_ascii else _TERMINAL_INTRODUCER.search(text):
        text = _TERMINAL_SEQUENCE.sub("", text)
    if is_ascii:
        kept = text.encode().translate(None, _CONTROLS)
        return text if len(kept) == len(text) else kept.decode()
    return _BEYOND_ASCII.sub(lambda run: run[0].translate(_VISIBLE), _CONTROL.sub("", text))


def normalize(text: str) -> NormalizedText:
    """Normalized form of a text that went through `strip_controls`."""
    plain = text if text.isascii() else _BEYOND_ASCII.sub(lambda run: run[0].translate(_NORMALIZED), text)
    folded: bytes = plain.encode("latin-1")
    if _may_have_trailers(folded):
        escapes = [escape.span() for escape in _ESCAPES_AND_TRAILERS.finditer(folded)]
    elif any(search(folded, 0)[0] >= 0 for search in _HAS_ESCAPES):
        escapes = [escape.span() for escape in _ESCAPES.finditer(folded)]
    else:
        return NormalizedText(text, folded)
    if not escapes:
        return NormalizedText(text, folded)
    pieces: list[bytes] = []
    position = 0
    for start, end in escapes:
        pieces += folded[position:start], _unescape(folded[start:end])
        position = end
    pieces.append(folded[position:])
    offsets = tuple(accumulate((end - start - 1 for start, end in escapes), initial=0))
    ends = tuple(end - offset for (_, end), offset in zip(escapes, offsets[1:], strict=True))
    return NormalizedText(text, b"".join(pieces), ends, offsets)


def _may_have_trailers(folded: bytes) -> bool:
    if COMBINING_MARK in folded:
        return True
    return b"\\" in folded and any(hint in folded for hint in _WRITTEN_SEQUENCE_HINTS)


def _unescape(escape: bytes) -> bytes:
    """The character of an escape, or of a character with trailers."""
    if len(escape) > 1 and (trailer := _TRAILERS.search(escape, 1)):
        escape = escape[: trailer.start()]
    match escape[:1]:
        case b"%" if len(escape) > 1:
            return _normalized_byte(int(escape[-2:], 16))
        case b"&" if len(escape) > 1:
            return _unescape_entity(escape)
        case b"\\" if len(escape) > 1:
            return _normalized_byte(int(escape[-4:] if b"u" in escape else escape[-2:], 16))
    return escape


def _unescape_entity(entity: bytes) -> bytes:
    _, _, name = entity.rstrip(b";").rpartition(b"amp;")
    character = html.unescape(f"&{name.lstrip(b'&').decode('latin-1')};")
    return _normalized_byte(ord(character)) if len(character) == 1 else b"&"


def _normalized_byte(code: int) -> bytes:
    return _FIRST_CODES[code : code + 1] or bytes((_normalized(chr(code)),))


class _CharacterTable(dict[int, int | None]):
    """Table for `str.translate`, computed on demand and kept for one plane of Unicode."""

    def __init__(self, compute: Callable[[str], int | None]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, code: int) -> int | None:
        value = self._compute(chr(code))
        if code < 0x10000:
            self[code] = value
        return value


def _visible(character: str) -> int | None:
    code = ord(character)
    if code in _INVISIBLE:
        return None
    match unicodedata.category(character):
        case "Cc" | "Cf":
            return None
        case "Cs":
            return 0xFFFD
    return code


def _normalized(character: str) -> int:
    if (plain := _ASCII.get(ord(character))) is not None:
        return plain
    if (digit := unicodedata.digit(character, None)) is not None:
        return ord("0") + digit
    if unicodedata.category(character) in ("Mn", "Me"):
        return COMBINING_MARK
    # The character without accent, width or style: `é` is `e`, `ｆ` is `f`, a no-break space is a space.
    base = unicodedata.normalize("NFKD", character)[0]
    if " " <= base <= "~" or base in "\t\n":
        return ord(base)
    if (plain := _ASCII.get(ord(base))) is not None:
        return plain
    category = unicodedata.category(base)
    if category.startswith("Z"):
        return ord("\n") if category in ("Zl", "Zp") else ord(" ")
    return OTHER_LETTER if category[0] in "LMN" else OTHER_SIGN


_VISIBLE = _CharacterTable(_visible)
_NORMALIZED = _CharacterTable(_normalized)
_FIRST_CODES = bytes(_normalized(chr(code)) for code in range(0x100))
