"""Texts that an earlier mirror made by Python's `repr`, read back; nothing of them is ever evaluated.

Each is held against the whole shape that it must have before anything is made of it. Every expression is
possessive, so that it takes linear time on any text.
"""

import re
from itertools import product

import orjson

_STRING = r"""(?:'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+'|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+")"""
_STRINGS = re.compile(rf"\[(?:{_STRING}(?:, {_STRING})*+)?\]")
_ONE_STRING = re.compile(_STRING)
_QUOTES = "'\""
# What no text of PostgreSQL's has in it.
_NUL = "\0"
# Streams have names without quotes or escapes, and lists of numbers.
_PLAIN = re.compile(r"(?:'[\w .:-]*+'|[][{}:, 0-9.eE+-]++|nan|inf|None)*+")
_NO_NUMBER = re.compile(r"'[^']*+'|nan|-?inf|None")


def log(text: str) -> str | None:
    """The log that a list of its lines tells of, each line but the last ended; `None` if it is none."""
    if not _STRINGS.fullmatch(text):
        return None
    # A log has hundreds of lines, so that nothing is done line by line.
    strings = _NUL.join(_ONE_STRING.findall(text))
    for left, right in product(_QUOTES, repeat=2):
        strings = strings.replace(f"{left}{_NUL}{right}", "\n")
    try:
        return _joined(strings[1:-1]).encode("latin-1", "backslashreplace").decode("unicode_escape")
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


def _joined(lines: str) -> str:
    """Lines, parted by newlines, behind each other, their escapes as they are: of one newline each."""
    if "\\\\n\n" not in lines:
        return lines.replace("\\n\n", "\\n").replace("\n", "\\n")
    # A line may end with a backslash and an n.
    *ended, last = lines.split("\n")
    return "".join([*(line if _has_newline(line) else f"{line}\\n" for line in ended), last])


def _has_newline(line: str) -> bool:
    before = line.removesuffix("n")
    return before != line and (len(before) - len(before.rstrip("\\"))) % 2 == 1
