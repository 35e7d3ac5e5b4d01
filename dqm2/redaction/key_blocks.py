"""PEM blocks, complete or truncated at either end (docs/data-policy.md, "Redaction of text")."""

from dqm2.linear_patterns import compile_linear
from dqm2.redaction.rules_base import ALPHANUMERIC, Placeholder, Rule, Span

# Without one of these words it is a heading in a log rather than a block.
_WORDS = rb"(?:PRIVATE|PUBLIC|KEY|CERTIFICATE|CRL|PKCS|PARAMETERS|PGP|SSH2?|X509|SESSION|TICKET|CIPHER)"
# Forms and queries have `+` for a blank.
_BEGIN = rb"(?i:----[ +-]?BEGIN[ +][A-Z0-9 +]{0,32}" + _WORDS + rb")"
_END = rb"(?i:----[ +-]?END[ +][A-Z0-9 +]{0,32}" + _WORDS + rb"[A-Z0-9 +]{0,32}-{0,5})"
BLOCK_START = compile_linear(_BEGIN)
_BLOCK_END = compile_linear(_END)

_BODY = ALPHANUMERIC + b"+/=\\\n"
# Limit of a block without its beginning. Its lines have 64 characters or more, except the first and the last.
_MAX_BODY = 1 << 16
_MIN_LINE = 40


def _block(text: bytes, _min_start: int, start: int, end: int) -> tuple[Span, ...]:
    """From BEGIN to END, or to the end of the text where the END is missing."""
    last = _BLOCK_END.search(text, end)
    return (Span(start, last.end() if last else len(text), Placeholder.KEY),)


def _block_without_begin(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    """The END of a block that lost its beginning, as at the top of a log's tail, with the lines above it."""
    earliest = max(min_start, start - _MAX_BODY)
    first = earliest + len(text[earliest:start].rstrip(_BODY))
    if first > min_start and text[first - 1 : first] != b"\n":
        # Behind the words of an ordinary line; if that is the END's own line, the block is on it.
        line_end = text.find(b"\n", first, start)
        first = first if line_end < 0 else line_end + 1
    while first > min_start and 0 <= (line_end := text.find(b"\n", first, start - 1)) < first + _MIN_LINE:
        first = line_end + 1
    return (Span(first, end, Placeholder.KEY),)


KEY_BLOCK_RULES = (Rule(_BEGIN, _block), Rule(_END, _block_without_begin))
