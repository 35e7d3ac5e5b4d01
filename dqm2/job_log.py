"""The head and the tail of a job's log, as a document holds them: a text each, cut to a bound at line ends.

Redaction comes after: cut within a line, a value could lose the word by which it is known for a secret. So
where a bound has no line end, the part is left out.
"""

import json

from dqm2.field_parsers import FieldParser, ParseContext, ParseResult

# DQM²'s monitors keep about 16 kB of either end, and one longer line.
MOST_CHARACTERS = 256 * 1024
_MOST_LINES = 100_000
_MOST_JSON_CHARACTERS = 16 * MOST_CHARACTERS


def _head(value: object, _context: ParseContext) -> ParseResult[str]:
    text = _text(value)
    if text.value is None or len(text.value) <= MOST_CHARACTERS:
        return text
    end = text.value.rfind("\n", 0, MOST_CHARACTERS) + 1
    return ParseResult(text.value[:end], text.is_complete) if end else ParseResult(None, is_complete=False)


def _tail(value: object, _context: ParseContext) -> ParseResult[str]:
    text = _text(value)
    if text.value is None or len(text.value) <= MOST_CHARACTERS:
        return text
    start = text.value.find("\n", -MOST_CHARACTERS - 1) + 1
    rest = text.value[start:] if start else ""
    return ParseResult(rest, text.is_complete) if rest else ParseResult(None, is_complete=False)


def _text(value: object) -> ParseResult[str]:
    """A list of lines, newline included; old monitors send one text, or such a list as JSON in a text."""
    if isinstance(value, str):
        lines = _lines_in_json(value)
        if lines is None:
            return ParseResult(value, is_complete=True)
        value = lines
    if not isinstance(value, list) or len(value) > _MOST_LINES:
        return ParseResult(None, is_complete=False)
    texts = [line for line in value if isinstance(line, str)]
    ended = [line if line.endswith("\n") else f"{line}\n" for line in texts[:-1]]
    return ParseResult("".join((*ended, *texts[-1:])), len(texts) == len(value))


def _lines_in_json(text: str) -> list[object] | None:
    if not text.startswith("[") or len(text) > _MOST_JSON_CHARACTERS:
        return None
    try:
        lines = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_lines = isinstance(lines, list) and all(isinstance(line, str) for line in lines)
    return lines if is_lines else None


HEAD = FieldParser("lines, redacted (below); the first 256 kB of them", _head)
TAIL = FieldParser("lines, redacted (below); the last 256 kB of them", _tail)
