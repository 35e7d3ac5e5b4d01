"""Parsers of the long values of a document: series over time, file delivery, and both ends of a job's log.

An invalid entry is dropped and the rest of its series is kept; a value of another type, or longer than any
run's, is dropped as a whole.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from dqm2.field_parsers import (
    INT4_MAX,
    INT8_MAX,
    MAX_ENTRIES,
    MIN_UNIX_S,
    FieldParser,
    ParseContext,
    ParseResult,
    parse_integer,
    parse_unix_time,
)
from dqm2.records import EventSeries, InputStatus, InputStatuses, MemorySeries, Stream
from dqm2.redaction.rules_base import Placeholder

# DQM²'s monitors keep about 16 kB of either end of a log, and one longer line.
MAX_LOG_CHARACTERS = 256 * 1024
_MAX_LOG_LINES = 100_000
# In a log that is too long, a line longer than this is omitted, so that the lines around it are kept.
_MAX_LINE_CHARACTERS = 32 * 1024
_MAX_LOG_JSON_CHARACTERS = 16 * MAX_LOG_CHARACTERS

_PAGE_KB = 4
_STATM = re.compile(r"([0-9]{1,15}) ([0-9]{1,15})(?: [0-9]{1,15}){5}")
_STATM_PAGES = 7
# Values of a series are parsed together, which takes two thirds of the time; one by one if any is longer or
# has another form than DQM² writes.
_MAX_USUAL_DIGITS = 15
_USUAL_TIMES = re.compile(r"[0-9]{1,15}\.[0-9]{1,15}(?: [0-9]{1,15}\.[0-9]{1,15})*")
_EVENT_NUMBERS = ("n", "nevents", "nmillis")
_LUMISECTION_KEY = re.compile(r"lumi([0-9]{1,10})")
_STREAM_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
_MAX_STREAMS = 1000
# Events and bytes of a file are stored as differences to -1, which must fit eight bytes.
_MAX_FILE_COUNT = INT8_MAX - 1
_INPUT_STATUSES = {status.value: status for status in InputStatus}
# Columns of reports, ascending by their times, which come first.
_Columns = Sequence[list[Any]]
_REJECTED: ParseResult[Any] = ParseResult(None, is_complete=False)


@dataclass(frozen=True, slots=True)
class MemoryReports:
    """Memory series, and the unix time of its first entry."""

    series: MemorySeries
    first_s: float


@dataclass(frozen=True, slots=True)
class EventReports:
    """Event series, and the unix times of its first report and of the first report of its newest LS."""

    series: EventSeries
    first_s: float
    newest_s: float


def _entries(value: object) -> Mapping[object, object] | None:
    return value if isinstance(value, dict) and len(value) <= MAX_ENTRIES else None


def _memory(value: object, context: ParseContext) -> ParseResult[MemoryReports]:
    if (entries := _entries(value)) is None:
        return _REJECTED
    reports = _usual_memory_reports(entries, context.max_unix_s) or _columns(
        sorted(
            report
            for key, statm in entries.items()
            if (report := _memory_report(key, statm, context.max_unix_s)) is not None
        )
    )
    if not reports:
        return ParseResult(None, is_complete=not entries)
    times, sizes, resident = reports
    series = MemorySeries(
        at_s=list(map(int, times)),
        size_kb=[pages * _PAGE_KB for pages in sizes],
        rss_kb=[pages * _PAGE_KB for pages in resident],
    )
    return ParseResult(MemoryReports(series, times[0]), len(times) == len(entries))


def _memory_report(key: object, statm: object, max_unix_s: float) -> tuple[float, int, int] | None:
    at_s = parse_unix_time(key, max_unix_s)
    pages = _STATM.fullmatch(statm) if isinstance(statm, str) else None
    return (at_s, int(pages[1]), int(pages[2])) if at_s is not None and pages else None


def _usual_memory_reports(entries: Mapping[object, object], max_unix_s: float) -> _Columns | None:
    """As from `_memory_report`, if all entries have their usual form and order."""
    times, lines = _usual_times(entries.keys(), max_unix_s), _texts(entries.values())
    if times is None or {line.count(" ") for line in lines} != {_STATM_PAGES - 1}:
        return None
    pages = " ".join(lines).split(" ")
    if not _are_usual_numbers(pages):
        return None
    return times, list(map(int, pages[::_STATM_PAGES])), list(map(int, pages[1::_STATM_PAGES]))


def _events(value: object, context: ParseContext) -> ParseResult[EventReports]:
    if (entries := _entries(value)) is None:
        return _REJECTED
    reports = _usual_event_reports(entries, context.max_unix_s) or _columns(
        sorted(
            report
            for key, entry in entries.items()
            if (report := _event_report(key, entry, context.max_unix_s)) is not None
        )
    )
    if not reports:
        return ParseResult(None, is_complete=not entries)
    times, numbers, events, durations_ms = reports
    # Several reports may name one lumisection, each counted from its start: the last one counts.
    last = {number: at for at, number in enumerate(numbers)}
    lumisections = sorted(last)
    kept = [last[lumisection] for lumisection in lumisections]
    series = EventSeries(
        lumisections=lumisections,
        at_s=[int(times[at]) for at in kept],
        events=[events[at] for at in kept],
        duration_ms=[durations_ms[at] for at in kept],
    )
    newest_s = times[numbers.index(lumisections[-1])]
    return ParseResult(EventReports(series, times[0], newest_s), len(times) == len(entries))


def _event_report(key: object, entry: object, max_unix_s: float) -> tuple[float, int, int, int] | None:
    at_s = parse_unix_time(key, max_unix_s)
    if at_s is None or not isinstance(entry, dict):
        return None
    lumisection = parse_integer(entry.get("n"), 0, INT4_MAX)
    events = parse_integer(entry.get("nevents"), 0, INT8_MAX)
    duration_ms = parse_integer(entry.get("nmillis"), 0, INT8_MAX)
    if lumisection is None or events is None or duration_ms is None:
        return None
    return at_s, lumisection, events, duration_ms


def _usual_event_reports(entries: Mapping[object, object], max_unix_s: float) -> _Columns | None:
    """As from `_event_report`, if all entries have their usual form and order."""
    times = _usual_times(entries.keys(), max_unix_s)
    objects = [entry for entry in entries.values() if isinstance(entry, dict)]
    if times is None or len(objects) != len(times):
        return None
    texts = _texts([entry.get(name) for name in _EVENT_NUMBERS for entry in objects])
    if not _are_usual_numbers(texts):
        return None
    numbers = list(map(int, texts))
    lumisections, events, durations_ms = (
        numbers[start : start + len(times)] for start in range(0, len(numbers), len(times))
    )
    return None if max(lumisections) > INT4_MAX else (times, lumisections, events, durations_ms)


def _usual_times(values: Collection[object], max_unix_s: float) -> list[float] | None:
    """Times in ascending order."""
    texts = _texts(values)
    line = " ".join(texts)
    if not _USUAL_TIMES.fullmatch(line) or line.count(" ") >= len(texts):
        return None
    times = list(map(float, texts))
    is_ascending = sorted(set(times)) == times
    return times if is_ascending and times[0] >= MIN_UNIX_S and times[-1] <= max_unix_s else None


def _are_usual_numbers(texts: Collection[str]) -> bool:
    """Whether there are texts, and all of them are digits."""
    digits = "".join(texts)
    is_number = digits.isascii() and digits.isdigit() and "" not in texts
    return is_number and max(map(len, texts)) <= _MAX_USUAL_DIGITS


def _texts(values: Collection[object]) -> list[str]:
    """The values; none if any is not a text."""
    texts = [value for value in values if isinstance(value, str)]
    return texts if len(texts) == len(values) else []


def _input_statuses(value: object, _context: ParseContext) -> ParseResult[InputStatuses]:
    if (entries := _entries(value)) is None:
        return _REJECTED
    by_lumisection: dict[int, InputStatus] = {}
    for key, word in entries.items():
        lumisection = _LUMISECTION_KEY.fullmatch(key) if isinstance(key, str) else None
        status = _INPUT_STATUSES.get(word) if isinstance(word, str) else None
        if lumisection and status is not None and int(lumisection[1]) <= INT4_MAX:
            by_lumisection[int(lumisection[1])] = status
    lumisections = sorted(by_lumisection)
    statuses = InputStatuses(lumisections, [by_lumisection[lumisection] for lumisection in lumisections])
    return ParseResult(statuses, len(by_lumisection) == len(entries))


def _streams(value: object, context: ParseContext) -> ParseResult[tuple[Stream, ...]]:
    if not isinstance(value, dict) or len(value) > _MAX_STREAMS:
        return _REJECTED
    names = _stream_names(value, context)
    results = [_stream(name, value[key], context.max_unix_s) for key, name in names.items()]
    streams = tuple(result.value for result in results if result.value is not None)
    is_complete = len(streams) == len(value) and all(result.is_complete for result in results)
    return ParseResult(streams, is_complete)


def _stream_names(value: Mapping[object, object], context: ParseContext) -> dict[str, str]:
    """Name of each stream that has a valid one, by its key, in the document's order."""
    names = {key: key.partition("_")[0] for key in value if isinstance(key, str)}
    valid = {
        key: name
        for key, name in names.items()
        if _STREAM_NAME.fullmatch(name) and context.is_unredacted(name)
    }
    numbers: dict[str, int] = {}
    occurrences: dict[str, int] = {}
    # Several hosts may deliver one stream; numbered in the order of their names, each keeps its number.
    for key in sorted(valid):
        numbers[key] = occurrences[valid[key]] = occurrences.get(valid[key], 0) + 1
    return {key: name if numbers[key] == 1 else f"{name}·{numbers[key]}" for key, name in valid.items()}


# In the order of the fields of `Stream`.
_STREAM_LISTS = ("lumis", "mtimes", "ctimes", "evt_accepted", "evt_processed", "fsize")


def _stream(name: str, value: object, max_unix_s: float) -> ParseResult[Stream]:
    lists = [value.get(key) for key in _STREAM_LISTS] if isinstance(value, dict) else []
    columns = [column for column in lists if isinstance(column, list) and len(column) <= MAX_ENTRIES]
    if len(columns) != len(_STREAM_LISTS) or len({len(column) for column in columns}) > 1:
        return _REJECTED
    files = [file for entry in zip(*columns, strict=True) if (file := _file(entry, max_unix_s))]
    files.sort()
    stream = Stream(name, *(_columns(files) if files else [()] * len(_STREAM_LISTS)))
    return ParseResult(stream, len(files) == len(columns[0]))


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _file(entry: tuple[object, ...], max_unix_s: float) -> tuple[int, ...] | None:
    lumisection, mtime, ctime, *counts = entry
    times = parse_unix_time(mtime, max_unix_s), parse_unix_time(ctime, max_unix_s)
    numbers = [parse_integer(lumisection, 0, INT4_MAX)]
    numbers += [None if time is None else round(time * 1000) for time in times]
    # -1 where DQM² could not read the file.
    numbers += [parse_integer(value, -1, _MAX_FILE_COUNT) for value in counts]
    valid = tuple(value for value in numbers if value is not None)
    return valid if len(valid) == len(numbers) else None


def _log_head(value: object, _context: ParseContext) -> ParseResult[str]:
    log = _log_text(value)
    if log.value is None or len(log.value) <= MAX_LOG_CHARACTERS:
        return log
    end = log.value.rfind("\n", 0, MAX_LOG_CHARACTERS) + 1
    return ParseResult(log.value[:end], log.is_complete) if end else _REJECTED


def _log_tail(value: object, _context: ParseContext) -> ParseResult[str]:
    log = _log_text(value)
    if log.value is None or len(log.value) <= MAX_LOG_CHARACTERS:
        return log
    start = log.value.find("\n", -MAX_LOG_CHARACTERS - 1) + 1
    tail = log.value[start:] if start else ""
    return ParseResult(tail, log.is_complete) if tail else _REJECTED


def _log_text(value: object) -> ParseResult[str]:
    """Text of a list of lines; old monitors send one text, or such a list as JSON in a text."""
    if isinstance(value, str):
        lines = _json_lines(value)
        if lines is None:
            return _readable(value, is_complete=True)
        value = lines
    if not isinstance(value, list) or len(value) > _MAX_LOG_LINES:
        return _REJECTED
    texts = [line for line in value if isinstance(line, str)]
    return _readable(_joined(texts), is_complete=len(texts) == len(value))


def _joined(lines: Sequence[str]) -> str:
    """Lines as one text, in which all but the last one end."""
    *others, last = lines or [""]
    # As DQM² sends them.
    if all(map(str.endswith, others, repeat("\n"))):
        return "".join(lines)
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in others) + last


def _readable(text: str, *, is_complete: bool) -> ParseResult[str]:
    """A log whose carriage returns are line ends: programs write their progress over itself by them.

    If it is too long, lines that are very long are omitted.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(text) <= MAX_LOG_CHARACTERS or "\n" not in text:
        return ParseResult(text, is_complete)
    lines = [line if len(line) <= _MAX_LINE_CHARACTERS else Placeholder.OMITTED for line in text.split("\n")]
    return ParseResult("\n".join(lines), is_complete and Placeholder.OMITTED not in lines)


def _json_lines(text: str) -> list[object] | None:
    if not text.startswith("[") or len(text) > _MAX_LOG_JSON_CHARACTERS:
        return None
    try:
        lines = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_lines = isinstance(lines, list) and all(isinstance(line, str) for line in lines)
    return lines if is_lines else None


MEMORY = FieldParser("times → `statm`: seven page counts; the times and the first two counts", _memory)
EVENTS = FieldParser("times → numbers `n`, `nevents`, `nmillis`; the last entry of each `n`", _events)
INPUT_STATUSES = FieldParser("`lumi000032` → one of DQM²'s words", _input_statuses)
STREAMS = FieldParser(
    "by the name before the first `_` (`[A-Za-z0-9-]{1,64}` that redaction leaves unchanged): "
    "lists of numbers and times of equal length, `" + "`, `".join(_STREAM_LISTS) + "`",
    _streams,
)
# Logs are cut at line ends, before redaction: cut within a line, a value could lose the word that marks it as
# a secret. A log without a line end within the limit is dropped.
LOG_HEAD = FieldParser("lines, redacted (below); the first 256 kB", _log_head)
LOG_TAIL = FieldParser("lines, redacted (below); the last 256 kB", _log_tail)
