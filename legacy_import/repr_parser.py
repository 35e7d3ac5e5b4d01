"""Parser of log lines and streams that the earlier mirror stored as Python's `repr`; nothing is evaluated.

A text must match the grammar as a whole. Quantifiers are possessive, so that matching takes linear time.
`ast.literal_eval` takes twice as long (1 ms per log), and raises MemoryError or RecursionError on some input.
"""

import re

import orjson

_QUOTES = "'\""


def _sequence(quote: str) -> str:
    """Pattern of consecutive strings with the same quote."""
    inner = rf"[^{quote}\\\n]*+"
    return rf"{quote}{inner}(?:(?:\\.|{quote}, {quote}){inner})*+{quote}"


# A log has hundreds of lines, few of which change the quote, so consecutive strings with the same quote are
# processed together. The last match is the rest of the text.
_SEQUENCES = re.compile(rf"(?:\A\[|(?!\A), )(?:{'|'.join(map(_sequence, _QUOTES))})|(?s:.+)")
_STRINGS = {quote: re.compile(rf"{quote}([^{quote}\\]*+(?:\\.[^{quote}\\]*+)*+){quote}") for quote in _QUOTES}
# Streams have names without quotes or escapes, and lists of numbers.
_STREAMS = re.compile(r"(?:'[\w .:-]*+'|[][{}:, 0-9.eE+-]++|nan|inf|None)*+")
_NOT_NUMBER = re.compile(r"'[^']*+'|nan|-?inf|None")


def parse_log(text: str) -> str | None:
    """The log of a list of lines, with a newline after each but the last; `None` if the text is invalid."""
    if text == "[]":
        return ""
    *sequences, rest = _SEQUENCES.findall(text) or [""]
    if not sequences or rest != "]":
        return None
    lines = "".join(map(_terminated_lines, sequences))
    if not _is_terminated(sequences[-1][:-1]):
        lines = lines.removesuffix("\\n")
    try:
        return lines.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError:
        return None


def parse_streams(text: str) -> object:
    """The dictionary of a run's streams, `None` if the text is invalid; nan and inf become `None`."""
    if not _STREAMS.fullmatch(text):
        return None
    json_text = _NOT_NUMBER.sub(lambda match: match[0] if match[0].startswith("'") else "null", text)
    try:
        return orjson.loads(json_text.replace("'", '"'))
    except orjson.JSONDecodeError:
        return None


def _terminated_lines(sequence: str) -> str:
    """The contents of the strings of a sequence, each with a newline, still escaped."""
    quote = sequence[-1]
    separator = f"{quote}, {quote}"
    inside = _terminated(sequence.partition(quote)[2][:-1])
    if f"\\{separator}" in inside or f"\\\\n{separator}" in inside:
        # A string contains its own quote, or ends with a backslash or with a backslash and an n.
        return "".join(map(_terminated, _STRINGS[quote].findall(sequence)))
    return inside.replace(f"\\n{separator}", "\\n").replace(separator, "\\n")


def _terminated(line: str) -> str:
    return line if _is_terminated(line) else f"{line}\\n"


def _is_terminated(line: str) -> bool:
    """Whether a line ends with an escaped newline, and not with an escaped backslash and an n."""
    before = line.removesuffix("n")
    return before != line and (len(before) - len(before.rstrip("\\"))) % 2 == 1
