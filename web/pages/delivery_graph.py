"""File delivery of a run as it is drawn: delay and accepted events over lumisections, a line a stream."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from math import ceil
from statistics import fmean

import orjson

from dqm2.records import Stream
from storage.read_models import Delivery

# A graph has pixels for so many lumisections. Of a longer run neighbours are drawn as one, until somebody
# looks closer: 20 streams of 3000 lumisections are more than all else of a page's first load.
MOST_POINTS = 500

_Values = Sequence[float | None]


class FileTime(StrEnum):
    """Which time of a file its delivery is measured by."""

    MODIFIED = "mtime"
    CHANGED = "ctime"


def to_json(delivery: Delivery | None, time: FileTime, late_s: float, *, is_whole: bool) -> bytes:
    """Columns on one axis of lumisections, `null` where a stream has no file.

    `{"lumisections": […], "last", "streams": [{"name", "delay_s": […], "events": […]}], "files", "late",
    "start_is_guess", "is_whole"}`; all delays are `null` where the run's start is not known. `late` of
    `files` are later than `late_s`. Where it is not whole, a point is several lumisections from the one that
    it is drawn at: the worst of their delays, the mean of their events.
    """
    streams = () if delivery is None else delivery.streams
    axis = sorted({ls for stream in streams for ls in stream.lumisections})
    step = 1 if is_whole else max(1, ceil(len(axis) / MOST_POINTS))
    columns = [] if delivery is None else [_columns(delivery, stream, axis, time) for stream in streams]
    told = [delay for _, delays, _ in columns for delay in delays if delay is not None]
    return orjson.dumps(
        {
            "lumisections": axis[::step],
            "last": axis[-1] if axis else None,
            "streams": [
                {
                    "name": name,
                    "delay_s": _coarser(delays, step, max),
                    "events": _coarser(events, step, _mean),
                }
                for name, delays, events in columns
            ],
            "files": len(told),
            "late": sum(delay > late_s for delay in told),
            "start_is_guess": delivery is not None
            and (delivery.global_start is None or delivery.global_start_is_guess),
            "is_whole": step == 1,
        }
    )


def _columns(
    delivery: Delivery, stream: Stream, axis: Sequence[int], time: FileTime
) -> tuple[str, _Values, _Values]:
    """A stream's name, delays and events, on the axis."""

    def on_axis(values: Iterable[float | None]) -> _Values:
        by_lumisection = dict(zip(stream.lumisections, values, strict=True))
        return [by_lumisection.get(ls) for ls in axis]

    times = stream.ctimes_ms if time is FileTime.CHANGED else stream.mtimes_ms
    delays = delivery.delays_s(stream.lumisections, times)
    events = [None if events < 0 else events for events in stream.events_accepted]
    return (
        stream.name,
        on_axis(None if delay is None else round(delay, 1) for delay in delays),
        on_axis(events),
    )


def _coarser(values: _Values, step: int, of: Callable[[Sequence[float]], float]) -> _Values:
    """One value for each `step` of them."""
    if step == 1:
        return values
    together = (values[start : start + step] for start in range(0, len(values), step))
    known = ([value for value in some if value is not None] for some in together)
    return [of(some) if some else None for some in known]


def _mean(values: Sequence[float]) -> float:
    return round(fmean(values))
