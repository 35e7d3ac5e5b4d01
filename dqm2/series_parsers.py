"""What a document tells over time: a job's memory, its events and input by LS, the files of a run's streams.

An entry of another shape is left out, and the rest of the series stands; a series that is none, or longer
than any run's, is left out as a whole.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dqm2.field_parsers import (
    INT4_MAX,
    INT8_MAX,
    MAX_ENTRIES,
    PAGE_KB,
    FieldParser,
    ParseContext,
    ParseResult,
    unix_time,
    whole_number,
)
from dqm2.records import EventSeries, InputStatus, InputStatuses, MemorySeries, Stream

_STATM = re.compile(r"([0-9]{1,15}) ([0-9]{1,15})(?: [0-9]{1,15}){5}")
_LUMISECTION_KEY = re.compile(r"lumi([0-9]{1,10})")
_STREAM_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
_MOST_STREAMS = 1000
# Of events and bytes of a file: what differs from -1, for unknown, by more can't be packed.
_MOST_OF_FILE = INT8_MAX - 1
_FATES = {fate.value: fate for fate in InputStatus}
_NOTHING: ParseResult[Any] = ParseResult(None, is_complete=False)


@dataclass(frozen=True, slots=True)
class MemoryReports:
    """The memory series, and when it begins in unix seconds."""

    series: MemorySeries
    first_s: float


@dataclass(frozen=True, slots=True)
class EventReports:
    """The event series, when it begins, and when the newest lumisection was first reported; unix seconds."""

    series: EventSeries
    first_s: float
    newest_s: float


def _entries(value: object) -> Mapping[object, object] | None:
    return value if isinstance(value, dict) and len(value) <= MAX_ENTRIES else None


def _memory(value: object, context: ParseContext) -> ParseResult[MemoryReports]:
    if (entries := _entries(value)) is None:
        return _NOTHING
    latest_s = context.latest_s
    reports: list[tuple[float, int, int]] = []
    for key, statm in entries.items():
        at_s = unix_time(key, latest_s)
        pages = _STATM.fullmatch(statm) if isinstance(statm, str) else None
        if at_s is not None and pages:
            reports.append((at_s, int(pages[1]) * PAGE_KB, int(pages[2]) * PAGE_KB))
    if not reports:
        return ParseResult(None, is_complete=not entries)
    reports.sort()
    series = MemorySeries(
        at_s=[int(at_s) for at_s, _, _ in reports],
        size_kb=[size_kb for _, size_kb, _ in reports],
        rss_kb=[rss_kb for _, _, rss_kb in reports],
    )
    return ParseResult(MemoryReports(series, reports[0][0]), len(reports) == len(entries))


def _events(value: object, context: ParseContext) -> ParseResult[EventReports]:
    if (entries := _entries(value)) is None:
        return _NOTHING
    latest_s = context.latest_s
    reports = sorted(
        report
        for key, entry in entries.items()
        if (at_s := unix_time(key, latest_s)) is not None and (report := _event_report(at_s, entry))
    )
    if not reports:
        return ParseResult(None, is_complete=not entries)
    # Several entries may have one lumisection: an interim one, counted from its start; the last one counts.
    by_lumisection = {lumisection: (at_s, events, ms) for at_s, lumisection, events, ms in reports}
    lumisections = sorted(by_lumisection)
    last = [by_lumisection[lumisection] for lumisection in lumisections]
    series = EventSeries(
        lumisections=lumisections,
        at_s=[int(at_s) for at_s, _, _ in last],
        events=[events for _, events, _ in last],
        duration_ms=[duration_ms for _, _, duration_ms in last],
    )
    newest_s = next(at_s for at_s, lumisection, _, _ in reports if lumisection == lumisections[-1])
    return ParseResult(EventReports(series, reports[0][0], newest_s), len(reports) == len(entries))


def _event_report(at_s: float, entry: object) -> tuple[float, int, int, int] | None:
    if not isinstance(entry, dict):
        return None
    lumisection = whole_number(entry.get("n"), 0, INT4_MAX)
    events = whole_number(entry.get("nevents"), 0, INT8_MAX)
    duration_ms = whole_number(entry.get("nmillis"), 0, INT8_MAX)
    if lumisection is None or events is None or duration_ms is None:
        return None
    return at_s, lumisection, events, duration_ms


def _fates(value: object, _context: ParseContext) -> ParseResult[InputStatuses]:
    if (entries := _entries(value)) is None:
        return _NOTHING
    seen: dict[int, InputStatus] = {}
    for key, word in entries.items():
        named = _LUMISECTION_KEY.fullmatch(key) if isinstance(key, str) else None
        fate = _FATES.get(word) if isinstance(word, str) else None
        if named and fate is not None and int(named[1]) <= INT4_MAX:
            seen[int(named[1])] = fate
    lumisections = sorted(seen)
    fates = InputStatuses(lumisections, [seen[lumisection] for lumisection in lumisections])
    return ParseResult(fates, len(seen) == len(entries))


def _streams(value: object, context: ParseContext) -> ParseResult[tuple[Stream, ...]]:
    if not isinstance(value, dict) or len(value) > _MOST_STREAMS:
        return _NOTHING
    streams: list[Stream] = []
    is_complete = True
    told: dict[str, int] = {}
    # Two hosts may deliver one stream; in the order of their names, each keeps its number.
    for key in sorted(key for key in value if isinstance(key, str)):
        name = key.partition("_")[0]
        if not _STREAM_NAME.fullmatch(name) or not context.passes_redaction(name):
            is_complete = False
            continue
        told[name] = told.get(name, 0) + 1
        shown = name if told[name] == 1 else f"{name}·{told[name]}"
        taken = _stream(shown, value[key], context.latest_s)
        is_complete &= taken.is_complete
        if taken.value is not None:
            streams.append(taken.value)
    return ParseResult(tuple(streams), is_complete and len(streams) == len(value))


# A stream's lists, in the order in which `Stream` has them.
_LISTS = ("lumis", "mtimes", "ctimes", "evt_accepted", "evt_processed", "fsize")


def _stream(name: str, value: object, latest_s: float) -> ParseResult[Stream]:
    lists = [value.get(key) for key in _LISTS] if isinstance(value, dict) else []
    columns = [column for column in lists if isinstance(column, list) and len(column) <= MAX_ENTRIES]
    if len(columns) != len(_LISTS) or len({len(column) for column in columns}) > 1:
        return _NOTHING
    files = [file for entry in zip(*columns, strict=True) if (file := _file(entry, latest_s))]
    files.sort()
    stream = Stream(name, *(_columns(files) if files else [()] * len(_LISTS)))
    return ParseResult(stream, len(files) == len(columns[0]))


def _columns(rows: Iterable[tuple[int, ...]]) -> list[list[int]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _file(entry: tuple[object, ...], latest_s: float) -> tuple[int, ...] | None:
    lumisection, mtime, ctime, *rest = entry
    times = unix_time(mtime, latest_s), unix_time(ctime, latest_s)
    numbers = [whole_number(lumisection, 0, INT4_MAX)]
    numbers += [None if time is None else round(time * 1000) for time in times]
    # -1 where the file could not be read.
    numbers += [whole_number(value, -1, _MOST_OF_FILE) for value in rest]
    found = tuple(value for value in numbers if value is not None)
    return found if len(found) == len(numbers) else None


MEMORY = FieldParser("times → `statm`: seven numbers of pages; times and the first two", _memory)
EVENTS = FieldParser("times → numbers `n`, `nevents`, `nmillis`; of each `n` the last", _events)
INPUT_STATUSES = FieldParser("`lumi000032` → one of DQM²'s words", _fates)
STREAMS = FieldParser(
    "by name before the first `_` (`[A-Za-z0-9-]{1,64}` that redaction leaves as it is): "
    "lists of numbers and times of equal length, `" + "`, `".join(_LISTS) + "`",
    _streams,
)
