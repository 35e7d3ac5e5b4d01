"""File delivery of a run as its graphs need it: delay and accepted events by lumisection and stream."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from math import ceil
from operator import attrgetter
from statistics import fmean

import orjson

from dqm2.records import Stream
from storage.delivery_statistics import delays_s
from storage.read_models import Delivery

# A graph has too few pixels for more. A longer run is downsampled until the reader looks closer: 20 streams
# of 3000 lumisections would be larger than the rest of the page.
MAX_POINTS = 500

_Values = Sequence[float | None]


class FileTime(StrEnum):
    """The file timestamp from which the delay is computed."""

    MODIFIED = "mtime"
    CHANGED = "ctime"


def to_json(delivery: Delivery | None, time: FileTime, late_s: float, *, is_whole: bool) -> bytes:
    """Columns over a common axis of lumisections, `null` where a stream has no file.

    `{"lumisections": […], "last", "streams": [{"name", "delay_s": […], "events": […]}], "files", "late",
    "start_is_guess", "is_damaged", "is_whole"}`; all delays are `null` if the start of the run is unknown.
    `late` of the `files` have a delay above `late_s`. If `is_whole` is false, a point covers several
    lumisections from the one it is at: the largest of their delays, and the mean of their events.
    """
    # A stream has the same place, and with it the same colour, in the graphs of all runs.
    streams: Sequence[Stream] = () if delivery is None else sorted(delivery.streams, key=attrgetter("name"))
    axis = sorted({ls for stream in streams for ls in stream.lumisections})
    step = 1 if is_whole else max(1, ceil(len(axis) / MAX_POINTS))
    columns = [] if delivery is None else [_columns(delivery, stream, axis, time) for stream in streams]
    known_delays = [delay for _, delays, _ in columns for delay in delays if delay is not None]
    return orjson.dumps(
        {
            "lumisections": axis[::step],
            "last": axis[-1] if axis else None,
            "streams": [
                {
                    "name": name,
                    "delay_s": _downsample(delays, step, max),
                    "events": _downsample(events, step, _mean),
                }
                for name, delays, events in columns
            ],
            "files": len(known_delays),
            "late": sum(delay > late_s for delay in known_delays),
            "start_is_guess": delivery is not None
            and delivery.global_start is not None
            and delivery.global_start_is_guess,
            "is_damaged": delivery is not None and delivery.is_damaged,
            "is_whole": step == 1,
        }
    )


def _columns(
    delivery: Delivery, stream: Stream, axis: Sequence[int], time: FileTime
) -> tuple[str, _Values, _Values]:
    """Name, delays and events of a stream, over the axis."""

    def over_axis(values: Iterable[float | None]) -> _Values:
        by_lumisection = dict(zip(stream.lumisections, values, strict=True))
        return [by_lumisection.get(ls) for ls in axis]

    times = stream.ctimes_ms if time is FileTime.CHANGED else stream.mtimes_ms
    delays = delays_s(delivery, stream.lumisections, times)
    events = [None if events < 0 else events for events in stream.events_accepted]
    return (
        stream.name,
        over_axis(None if delay is None else round(delay, 1) for delay in delays),
        over_axis(events),
    )


def _downsample(values: _Values, step: int, aggregate: Callable[[Sequence[float]], float]) -> _Values:
    """One value per `step` values."""
    if step == 1:
        return values
    groups = (values[start : start + step] for start in range(0, len(values), step))
    known = ([value for value in group if value is not None] for group in groups)
    return [aggregate(group) if group else None for group in known]


def _mean(values: Sequence[float]) -> float:
    return round(fmean(values))
