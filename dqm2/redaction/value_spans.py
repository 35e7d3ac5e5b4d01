"""Where the value behind a `password=` ends: quoted or not, in brackets, in JSON, in JSON inside of JSON."""

from dqm2.redaction.key_blocks import BEGINS
from dqm2.redaction.linear import linear
from dqm2.redaction.placeholders import MARKS

# The quote that ends a key, with the backslashes that JSON within JSON puts before it.
KEY_QUOTE = rb'(?:\\{0,16}["\'])?'
# What stands between a key and its value.
SEPARATOR = rb"[ \t]{0,8}(?:=>|==?|:=|:)[ \t]{0,8}"
# A quote with the backslashes that JSON within JSON puts before it, behind what Python, C++ or a CMSSW
# configuration may put between `=` and a text: b'…', std::string("…"), cms.untracked.string('…').
_OPENING = linear(
    rb'(?:[A-Za-z_][A-Za-z_.:]{0,40}\([ \t]{0,8})?(?:[bBrRuUfF]{1,2})?\\{0,16}(?:"""|\'\'\'|["\'`])'
)
_QUOTES = b"\"'`"
_OPENINGS = (b'"', b"'", b"`", b"\\")

# What most values are: a word of ordinary characters up to a blank. Nothing else needs a closer look.
_PLAIN_WORD = linear(rb"[A-Za-z0-9_./+~^!$*%#@=-]+(?:\s|\z)")
# A quote that a word goes on behind is part of it.
_WORD = linear(rb'(?:[^\s"\'`<]|["\'`]+[A-Za-z0-9]|<[^/\s])+')
# Authorization: Basic …
_SCHEMES = (b"basic", b"bearer", b"digest", b"negotiate", b"token", b"apikey", b"ntlm")
_SCHEME = linear(rb"(?i:(?:" + b"|".join(_SCHEMES) + rb")[ \t]{1,8})")
# A word ends before the next value of a list: password=…,user=…
_NEXT = rb"[,;&](?:[A-Za-z_]{1,32}|\[[a-z]+\])="
_NEXT_VALUE = linear(_NEXT)
# Marks that stand in place of a value already.
_MARKED = linear(MARKS + rb"(?:" + _NEXT + rb"|[,;:.)}\]>\\]{0,8}(?:[\s\"'<]|\z))")
_SHORTEST_BLOCK = len("----BEGIN KEY")
_HEADER = linear(rb'(?:[^\n"\'\\]|=["\'][^"\'\n]*["\']|\\+[^\\nr"\'])+')
_BRACKET = linear(rb"[\[\](){}\n]")
_OPENING_BRACKETS = (b"[", b"(", b"{")
_CLOSING = {b"]": b"[", b")": b"(", b"}": b"{", b">": b"<"}
_LOOSE = b",;:.\\"
_MAY_GO = _LOOSE + b"".join(_CLOSING)
# What may stand behind the closing quote of a text of several lines.
_DELIMITERS = b" \t\n,;)}]"
# How far to look for a bracket, a quote or the next value of a list before the whole word or line is taken.
_WINDOW = 1024
_SEVERAL_LINES = 512


def value_span(text: bytes, at: int) -> tuple[int, int]:
    """Start and end of the value at `at`; it is empty if there is none, and ends before a PEM block in it."""
    if text[at : at + 1] == b"[" and _MARKED.match(text, at):
        return at, at
    if text[at : at + 1] not in _OPENINGS and (plain := _PLAIN_WORD.match(text, at)):
        word = plain[0].rstrip()
        if word.lower() not in _SCHEMES and not word.startswith(b"----"):
            return at, _trimmed_end(text, at, at + len(word))
    start, end = quoted_span(text, at) or (at, _unquoted_end(text, at))
    if end - start < _SHORTEST_BLOCK:
        return start, end
    block = BEGINS.search(text, start, end)
    return start, block.start() if block else end


def header_span(text: bytes, at: int) -> tuple[int, int]:
    """Start and end of a header's value (`Cookie: a=b; c=d`), which takes the rest of the line."""
    if text[at : at + 1] in _OPENING_BRACKETS or _OPENING.match(text, at):
        return value_span(text, at)
    header = _HEADER.match(text, at)
    return at, at + len(header[0].rstrip()) if header else at


def quoted_span(text: bytes, at: int) -> tuple[int, int] | None:
    """Start and end of the text whose opening quote stands at `at`; `None` if there is none.

    Without a closing quote it takes the rest of the line.
    """
    opening = _OPENING.match(text, at)
    if not opening:
        return None
    start = opening.end()
    before = opening[0].rstrip(_QUOTES)
    quote = text[at + len(before) : start]
    level = len(before) - len(before.rstrip(b"\\"))
    line_end = text.find(b"\n", start, start + _WINDOW)
    end = _closing_quote(text, quote, level, start, start + _WINDOW if line_end < 0 else line_end)
    if end < 0 <= line_end:
        end = _closing_quote(text, quote, level, line_end, start + _SEVERAL_LINES)
        behind = end + level + len(quote)
        if end >= 0 and text[behind : behind + 1] not in _DELIMITERS:
            end = -1
    return start, end if end >= 0 else _line_end(text, start)


def _closing_quote(text: bytes, quote: bytes, level: int, start: int, limit: int) -> int:
    """Where the text ends: at a quote behind no more backslashes than the opening one; -1 if nowhere."""
    at = text.find(quote, start, limit)
    while at >= 0:
        backslashes = at - start - len(text[start:at].rstrip(b"\\"))
        if backslashes <= level or (level == 0 and backslashes % 2 == 0):
            return at - min(backslashes, level)
        at = text.find(quote, at + 1, limit)
    return -1


def _unquoted_end(text: bytes, at: int) -> int:
    if text[at : at + 1] in _OPENING_BRACKETS:
        at = _bracket_end(text, at)
    elif scheme := _SCHEME.match(text, at):
        at = scheme.end()
    following = _NEXT_VALUE.search(text, at, at + _WINDOW)
    word = _WORD.match(text, at, following.start() if following else None)
    return _trimmed_end(text, at, word.end()) if word else at


def _bracket_end(text: bytes, start: int) -> int:
    depth = 0
    for bracket in _BRACKET.finditer(text, start, start + _WINDOW):
        if bracket[0] == b"\n":
            break
        depth += 1 if bracket[0] in b"[({" else -1
        if depth == 0:
            return bracket.end()
    return _line_end(text, start)


def _trimmed_end(text: bytes, start: int, end: int) -> int:
    """The end without punctuation and brackets that are the sentence's rather than the value's."""
    if end > start and text[end - 1] not in _MAY_GO:
        return end
    value = text[start:end]
    unopened = {closing: value.count(closing) - value.count(opening) for closing, opening in _CLOSING.items()}
    while end > start:
        last = text[end - 1 : end]
        if unopened.get(last, 0) > 0:
            unopened[last] -= 1
        elif last not in _LOOSE:
            break
        end -= 1
    return end


def _line_end(text: bytes, start: int) -> int:
    end = text.find(b"\n", start)
    return len(text) if end < 0 else end
