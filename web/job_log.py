"""The log of a job: the head and the tail that DQM² keeps, as one text and as lines marked by severity."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from dqm2.records import JobLog

# Marks the missing lines between head and tail, as a paragraph of its own.
GAP = "[… the middle of the log is not kept …]"
# Fewer equal lines than these may be a coincidence: empty lines, rulers.
_MIN_OVERLAP = 3

# CMSSW's message logger starts a message with its severity, and ends it with a bare %MSG.
_MESSAGE = re.compile(r"%MSG-([a-z]) ")
_MESSAGE_END = "%MSG"
# cmsRun prints the exception that ended it between two lines of this kind.
_FATAL_BEGIN = "Begin Fatal Exception"
_FATAL_END = "End Fatal Exception"
# Messages of the crash report and of the operating system, which have no such frame.
_ERROR = re.compile(
    r"A fatal system signal has occurred|segmentation violation|terminate called|\[(?:FATAL|ERROR)\]"
    r"|\bTraceback \(most recent call last\)|^\w*(?:Error|Exception)\b|-- process exit: (?!0 --)"
)
_WARNING = re.compile(r"\bwarning\b(?! +\d)", re.IGNORECASE)


class Severity(StrEnum):
    """Severity of a log line."""

    NONE = ""
    WARNING = "warning"
    ERROR = "error"


_MESSAGE_SEVERITIES = {"w": Severity.WARNING, "e": Severity.ERROR}


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log; `number` counts from 1 over the lines that are kept."""

    number: int
    text: str
    severity: Severity


def full_text(log: JobLog) -> str:
    """Head and tail in one text; lines that both contain, as in a short log, appear once."""
    head, tail = log.head.splitlines(keepends=True), log.tail.splitlines(keepends=True)
    longest = min(len(head), len(tail))
    shortest = min(_MIN_OVERLAP, longest)
    overlap = next((count for count in range(longest, shortest - 1, -1) if head[-count:] == tail[:count]), 0)
    gap = f"\n{GAP}\n\n" if head and tail and not overlap else ""
    return "".join([*head, gap, *tail[overlap:]])


def log_lines(log: JobLog) -> list[LogLine]:
    """The numbered lines of head and tail."""
    texts = full_text(log).removesuffix("\n").split("\n") if log.head or log.tail else []
    return [
        LogLine(number, text, severity)
        for number, (text, severity) in enumerate(zip(texts, _severities(texts), strict=True), start=1)
    ]


def first_lines(lines: list[LogLine], severity: Severity) -> list[LogLine]:
    """The first line of each block of lines of a severity."""
    previous = [Severity.NONE, *(line.severity for line in lines)]
    return [
        line
        for line, above in zip(lines, previous, strict=False)
        if line.severity is severity and above is not severity
    ]


def _severities(texts: list[str]) -> Iterator[Severity]:
    in_message: Severity | None = None
    for text in texts:
        if start := _MESSAGE.match(text):
            in_message = _MESSAGE_SEVERITIES.get(start[1], Severity.NONE)
        elif _FATAL_BEGIN in text:
            in_message = Severity.ERROR
        elif text == GAP:
            in_message = None
        yield _line_severity(text) if in_message is None else in_message
        if text.strip() == _MESSAGE_END or _FATAL_END in text:
            in_message = None


def _line_severity(text: str) -> Severity:
    if _ERROR.search(text):
        return Severity.ERROR
    return Severity.WARNING if _WARNING.search(text) else Severity.NONE
