"""The lines of a job's log as the log page shows them: numbered, warnings and errors marked."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from dqm2.records import JobLog
from web.log_text import GAP, whole


class Severity(StrEnum):
    """How grave a line is."""

    NONE = ""
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log; `number` counts from 1, over what is kept of it."""

    number: int
    text: str
    severity: Severity


# CMSSW's message logger opens a message with its severity, and closes it with a bare %MSG.
_MESSAGE = re.compile(r"%MSG-([a-z]) ")
_MESSAGE_END = "%MSG"
_MESSAGE_SEVERITIES = {"w": Severity.WARNING, "e": Severity.ERROR}
# cmsRun says between two lines of this kind what it ends by.
_FATAL_BEGIN = "Begin Fatal Exception"
_FATAL_END = "End Fatal Exception"
# The crash report's and the system's own words, which come without a frame.
_ERROR = re.compile(
    r"A fatal system signal has occurred|segmentation violation|terminate called|\[(?:FATAL|ERROR)\]"
    r"|\bTraceback \(most recent call last\)|^\w*(?:Error|Exception)\b|-- process exit: (?!0 --)"
)
_WARNING = re.compile(r"\bwarning\b(?! +\d)", re.IGNORECASE)


def log_lines(log: JobLog) -> list[LogLine]:
    """The lines of head and tail, numbered through."""
    texts = whole(log).removesuffix("\n").split("\n") if log.head or log.tail else []
    severities = _severities(texts)
    return [
        LogLine(number, text, severity)
        for number, (text, severity) in enumerate(zip(texts, severities, strict=True), start=1)
    ]


def first_lines(lines: list[LogLine], severity: Severity) -> list[LogLine]:
    """The lines at which something of a severity begins: what one jumps to."""
    before = [Severity.NONE, *(line.severity for line in lines)]
    return [
        line
        for line, above in zip(lines, before, strict=False)
        if line.severity is severity and above is not severity
    ]


def _severities(texts: list[str]) -> Iterator[Severity]:
    framed: Severity | None = None
    for text in texts:
        if opened := _MESSAGE.match(text):
            framed = _MESSAGE_SEVERITIES.get(opened[1], Severity.NONE)
        elif _FATAL_BEGIN in text:
            framed = Severity.ERROR
        elif text == GAP:
            framed = None
        yield _of_line(text) if framed is None else framed
        if text.strip() == _MESSAGE_END or _FATAL_END in text:
            framed = None


def _of_line(text: str) -> Severity:
    if _ERROR.search(text):
        return Severity.ERROR
    return Severity.WARNING if _WARNING.search(text) else Severity.NONE
