"""Errors and warnings in a job's log, found in one pass over its text.

A log mixes the lines of many writers. Each is recognized by the format in which it writes
(`dqm2/log_formats.py`). A word such as "error" alone means nothing: counts, names of modules and files, and
sentences contain it.

The pass takes linear time on any text: it stops at the literals of `RULES`, and then looks at one line or at
a block of bounded length.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from dqm2.linear_patterns import compile_linear
from dqm2.log_formats import (
    HEADER,
    INTERRUPTING,
    RULES,
    Found,
    MessageKind,
    Place,
    Recognized,
    Severity,
    read_header,
)
from dqm2.records import ErrorGroup, JobLog

# Marks the lines that DQM² does not keep, between the head and the tail of a log.
GAP = "[… the middle of the log is not kept …]"
_GAP_LINES = f"\n{GAP}\n\n"

# Longer lines are judged by their beginning, and by so many literals of it.
_MAX_LINE = 4000
_MAX_LITERALS_PER_LINE = 8
# Fewer equal lines than these at the end of the head and the start of the tail may be a coincidence.
_MIN_OVERLAP = 3
# Places in the head that are compared with the tail; more have so many equal lines that nothing is lost.
_MAX_OVERLAPS = 64
# Groups of errors that are kept of a log.
MAX_GROUPS = 20
# More crashes in one log are the same one.
_MAX_INTERRUPTIONS = 8

_LITERALS = compile_linear(b"|".join(re.escape(literal.encode()) for literal in RULES))


def _may_hide(literal: str, other: str) -> bool:
    """Whether another literal may be in or begin in this one, so that a search finds this one instead."""
    return other in literal or any(literal.endswith(other[:length]) for length in range(1, len(other)))


# The literals that a search finds in a text with the line of a crash; any other text needs no closer look.
_NEAR_INTERRUPTING = frozenset(
    literal
    for literal in RULES
    if any(_may_hide(literal, interrupting.strip()) for interrupting in INTERRUPTING)
)

# Offsets of a literal or a header; the match of a header.
_Candidate = tuple[int, int, re.Match[str] | None]


class LogPart(NamedTuple):
    """A contiguous part of a log, and the number of its first line in `full_text`."""

    text: str
    first_line: int


class LogMessage(NamedTuple):
    """A message of a log, the lines `line` to `last_line` of `full_text`, with its offsets in `part`."""

    line: int
    last_line: int
    part: LogPart
    start: int
    end: int
    recognized: Recognized

    @property
    def severity(self) -> Severity:
        """Severity of all lines of the message."""
        return self.recognized.severity

    @property
    def kind(self) -> MessageKind:
        """Kind of the message."""
        return self.recognized.kind


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log; `number` counts from 1 over the lines that are kept."""

    number: int
    text: str
    severity: Severity


def full_text(log: JobLog) -> str:
    """Head and tail in one text; lines that both contain, as in a short log, appear once."""
    return _GAP_LINES.join(part.text for part in log_parts(log))


def log_parts(log: JobLog) -> list[LogPart]:
    """The head and the tail of a log, or both as one part if lines of them overlap."""
    head, tail = log.head, log.tail
    if not head or not tail:
        return [LogPart(head or tail, 1)]
    overlap = _overlap(head, tail)
    if overlap:
        return [LogPart(head + tail[overlap:], 1)]
    return [LogPart(head, 1), LogPart(tail, 1 + head.count("\n") + _GAP_LINES.count("\n"))]


def log_lines(log: JobLog, messages: Iterable[LogMessage]) -> list[LogLine]:
    """The numbered lines of `full_text`, with the severities of the log's messages."""
    text = full_text(log)
    if not text:
        return []
    texts = text.removesuffix("\n").split("\n")
    severities = [Severity.NONE] * len(texts)
    for message in messages:
        last = min(message.last_line, len(texts))
        severities[message.line - 1 : last] = [message.severity] * (last - message.line + 1)
    return [
        LogLine(number, line, severity)
        for number, (line, severity) in enumerate(zip(texts, severities, strict=True), start=1)
    ]


def find_messages(log: JobLog) -> list[LogMessage]:
    """Errors and warnings of a log, in order; they do not overlap."""
    return [message for part in log_parts(log) for message in _find(part)]


def error_groups(messages: Iterable[LogMessage]) -> tuple[ErrorGroup, ...]:
    """The errors among messages by category and module, the most frequent first; at most `MAX_GROUPS`.

    A signal counts once: CMSSW names it at the beginning and at the end of its report.
    """
    first: dict[tuple[str, str], int] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for message in messages:
        recognized = message.recognized
        if recognized.severity is Severity.ERROR and recognized.kind is not MessageKind.EXIT:
            key = (recognized.category, recognized.module)
            if key not in first or recognized.kind is not MessageKind.SIGNAL:
                counts[key] += 1
            first.setdefault(key, message.line)
    return tuple(
        ErrorGroup(*key, count=count, line=first[key]) for key, count in counts.most_common(MAX_GROUPS)
    )


def _find(part: LogPart) -> Iterator[LogMessage]:
    text, line = part
    candidates = _candidates(text)
    interruptions = _interruptions(text, candidates)
    counted = position = line_start = literals = 0
    line_end = -1
    block_end: int | None
    for at, literal_end, header in candidates:
        if at < position:
            continue
        if at > line_end:
            line_start, line_end = _line_at(text, at)
            literals = 0
        if header is not None:
            recognized, end = read_header(text, header)
            end = block_end = min(end, interruptions[bisect_right(interruptions, at)])
        else:
            literals += 1
            if at - line_start > _MAX_LINE or literals > _MAX_LITERALS_PER_LINE:
                continue
            line_text = text[line_start : min(line_end, at + _MAX_LINE)]
            found = _first_found(text[at:literal_end], Place(text, line_start, at - line_start, line_text))
            if found is None:
                continue
            recognized, block_end = found
            end = line_end if block_end is None else block_end
        position = max(literal_end, end)
        if recognized.severity is Severity.NONE:
            continue
        line += text.count("\n", counted, line_start)
        counted = line_start
        lines = 0 if block_end is None else text.count("\n", line_start, max(end - 1, line_start))
        yield LogMessage(line, line + lines, part, line_start, end, recognized)


def _candidates(text: str) -> list[_Candidate]:
    """Headers of MessageLogger and literals of `RULES` in a text, in order."""
    # Headers are by far the most frequent, and a plain expression finds them in half the time.
    headers: list[_Candidate] = [(*header.span(), header) for header in HEADER.finditer(text)]
    # One byte per character, so that offsets agree.
    folded = text.encode("latin-1", "replace")
    literals: list[_Candidate] = [(*match.span(), None) for match in _LITERALS.finditer(folded)]
    return sorted(headers + literals, key=itemgetter(0)) if literals else headers


def _first_found(literal: str, place: Place) -> Found | None:
    for rule in RULES[literal]:
        if found := rule(place):
            return found
    return None


def _interruptions(text: str, candidates: Iterable[_Candidate]) -> list[int]:
    """Offsets of the lines of a crash, which end an open message, and the end of the text."""
    found = [len(text)]
    if not any(header is None and text[at:end] in _NEAR_INTERRUPTING for at, end, header in candidates):
        return found
    for literal in INTERRUPTING:
        at = -1
        for _ in range(_MAX_INTERRUPTIONS):
            at = text.find(literal, at + 1)
            if at < 0:
                break
            found.append(_line_at(text, at)[0])
    return sorted(found)


def _line_at(text: str, at: int) -> tuple[int, int]:
    """Start and end of the line that contains `at`; the start is a guess if it is far ahead."""
    start = text.rfind("\n", max(0, at - _MAX_LINE), at) + 1
    end = text.find("\n", at)
    return start, len(text) if end < 0 else end


def _overlap(head: str, tail: str) -> int:
    """Length of the longest start of `tail` that is the end of `head` and begins at the start of a line."""
    if tail.startswith(head):
        return len(head)
    # The first lines of the tail, by which an overlap is found in the head.
    probe_end = 0
    for _ in range(_MIN_OVERLAP):
        probe_end = tail.find("\n", probe_end) + 1 or len(tail)
    probe = tail[:probe_end]
    at = -1
    for _ in range(_MAX_OVERLAPS):
        at = head.find(probe, at + 1)
        if at < 0:
            break
        if (at == 0 or head[at - 1] == "\n") and tail.startswith(head[at:]):
            return len(head) - at
    return 0
