"""PEM blocks, whole or cut off at either end (data policy, "Redaction of text", rule 6)."""

from dqm2.redaction.linear import linear
from dqm2.redaction.normalization import Part
from dqm2.redaction.placeholders import Mark
from dqm2.redaction.rules_base import ALPHANUMERIC, Rule

# Without one of these words it is a headline of a log rather than a block.
_WORDS = rb"(?:PRIVATE|PUBLIC|KEY|CERTIFICATE|CRL|PKCS|PARAMETERS|PGP|SSH2?|X509|SESSION|TICKET)"
_BEGIN = rb"(?i:----[ -]?BEGIN [A-Z0-9 ]{0,32}" + _WORDS + rb")"
_END = rb"(?i:----[ -]?END [A-Z0-9 ]{0,32}" + _WORDS + rb"[A-Z0-9 ]{0,32}-{0,5})"
BEGINS = linear(_BEGIN)
_ENDS = linear(_END)

_BODY = ALPHANUMERIC + b"+/=\\\n"
# No block without beginning is longer; its lines have 64 characters or more, save the first and the last.
_LONGEST = 1 << 16
_LINE = 40


def _block(text: bytes, _free: int, start: int, end: int) -> tuple[Part, ...]:
    """From BEGIN to END, or all the rest where the END was cut off."""
    last = _ENDS.search(text, end)
    return (Part(start, last.end() if last else len(text), Mark.KEY),)


def _block_without_begin(text: bytes, free: int, start: int, end: int) -> tuple[Part, ...]:
    """The END of a block whose beginning was cut off, as at the top of a log's tail, with its lines above."""
    earliest = max(free, start - _LONGEST)
    first = earliest + len(text[earliest:start].rstrip(_BODY))
    if first > free and text[first - 1 : first] != b"\n":
        # Behind the words of an ordinary line; if that is the END's own line, the block is on it.
        line_end = text.find(b"\n", first, start)
        first = first if line_end < 0 else line_end + 1
    while first > free and 0 <= (line_end := text.find(b"\n", first, start - 1)) < first + _LINE:
        first = line_end + 1
    return (Part(first, end, Mark.KEY),)


KEY_BLOCK_RULES = (Rule(_BEGIN, _block), Rule(_END, _block_without_begin))
