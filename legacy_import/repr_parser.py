"""Texts that an earlier mirror made by Python's `repr`, read back; nothing of them is ever evaluated.

Each is held against the whole shape that it must have before anything is made of it. Every expression is
possessive, so that it takes linear time on any text.
"""

import re

import orjson

_QUOTES = "'\""


def _run(quote: str) -> str:
    """Strings of one quote that follow each other."""
    inner = rf"[^{quote}\\\n]*+"
    return rf"{quote}{inner}(?:(?:\\.|{quote}, {quote}){inner})*+{quote}"


# Nothing is done line by line, for a log has hundreds, of which few have another quote than the one before.
# What is no such run is the rest of the text, whatever it is.
_RUNS = re.compile(rf"(?:\A\[|(?!\A), )(?:{'|'.join(map(_run, _QUOTES))})|(?s:.+)")
_STRINGS = {quote: re.compile(rf"{quote}([^{quote}\\]*+(?:\\.[^{quote}\\]*+)*+){quote}") for quote in _QUOTES}
# Streams have names without quotes or escapes, and lists of numbers.
_PLAIN = re.compile(r"(?:'[\w .:-]*+'|[][{}:, 0-9.eE+-]++|nan|inf|None)*+")
_NO_NUMBER = re.compile(r"'[^']*+'|nan|-?inf|None")


def log(text: str) -> str | None:
    """The log that a list of its lines tells of, each line but the last ended; `None` if it is none."""
    if text == "[]":
        return ""
    *runs, rest = _RUNS.findall(text) or [""]
    if not runs or rest != "]":
        return None
    lines = "".join(map(_ended_lines, runs))
    if not _is_ended(runs[-1][:-1]):
        lines = lines.removesuffix("\\n")
    try:
        return lines.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError:
        return None


def streams(text: str) -> object:
    """The dictionary of a run's streams; `None` if it is none. What is no number in it is `None`."""
    if not _PLAIN.fullmatch(text):
        return None
    named = _NO_NUMBER.sub(lambda found: found[0] if found[0].startswith("'") else "null", text)
    try:
        return orjson.loads(named.replace("'", '"'))
    except orjson.JSONDecodeError:
        return None


def _ended_lines(run: str) -> str:
    """What the strings of a run hold, one behind the other, each ended, their escapes as they are."""
    quote = run[-1]
    between = f"{quote}, {quote}"
    inside = _ended(run.partition(quote)[2][:-1])
    if f"\\{between}" in inside or f"\\\\n{between}" in inside:
        # One of them holds its own quote or ends with a backslash, or with one and an n.
        return "".join(map(_ended, _STRINGS[quote].findall(run)))
    return inside.replace(f"\\n{between}", "\\n").replace(between, "\\n")


def _ended(line: str) -> str:
    return line if _is_ended(line) else f"{line}\\n"


def _is_ended(line: str) -> bool:
    """Whether a line ends with a newline's escape; a backslash may stand before an n as well."""
    before = line.removesuffix("n")
    return before != line and (len(before) - len(before.rstrip("\\"))) % 2 == 1
