"""The head and the tail of a job's log, as a document holds them: a text each, cut to a bound at line ends.

Redaction comes after: cut within a line, a value could lose the word by which it is known for a secret. So
where a bound has no line end, the part is left out.
"""

import json

from dqm2.field_parsers import Circumstances, Shape, Taken

# DQM²'s monitors keep about 16 kB of either end, and one longer line.
MOST_CHARACTERS = 256 * 1024
_MOST_LINES = 100_000
_MOST_JSON_CHARACTERS = 16 * MOST_CHARACTERS


def _head(value: object, _circumstances: Circumstances) -> Taken[str]:
    text = _text(value)
    if text.value is None or len(text.value) <= MOST_CHARACTERS:
        return text
    end = text.value.rfind("\n", 0, MOST_CHARACTERS) + 1
    return Taken(text.value[:end], text.is_whole) if end else Taken(None, is_whole=False)


def _tail(value: object, _circumstances: Circumstances) -> Taken[str]:
    text = _text(value)
    if text.value is None or len(text.value) <= MOST_CHARACTERS:
        return text
    start = text.value.find("\n", -MOST_CHARACTERS - 1) + 1
    rest = text.value[start:] if start else ""
    return Taken(rest, text.is_whole) if rest else Taken(None, is_whole=False)


def _text(value: object) -> Taken[str]:
    """A list of lines, newline included; old monitors send one text, or such a list as JSON in a text."""
    if isinstance(value, str):
        lines = _lines_in_json(value)
        if lines is None:
            return Taken(value, is_whole=True)
        value = lines
    if not isinstance(value, list) or len(value) > _MOST_LINES:
        return Taken(None, is_whole=False)
    texts = [line for line in value if isinstance(line, str)]
    ended = [line if line.endswith("\n") else f"{line}\n" for line in texts[:-1]]
    return Taken("".join((*ended, *texts[-1:])), len(texts) == len(value))


def _lines_in_json(text: str) -> list[object] | None:
    if not text.startswith("[") or len(text) > _MOST_JSON_CHARACTERS:
        return None
    try:
        lines = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_lines = isinstance(lines, list) and all(isinstance(line, str) for line in lines)
    return lines if is_lines else None


HEAD = Shape("lines, redacted (below); the first 256 kB of them", _head)
TAIL = Shape("lines, redacted (below); the last 256 kB of them", _tail)
