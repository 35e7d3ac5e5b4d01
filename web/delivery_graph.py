"""File delivery of a run as it is drawn: delay and accepted events over lumisections, a line a stream."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import orjson

from mirror.findings import Delivery
from mirror.records import Stream


class FileTime(StrEnum):
    """Which time of a file its delivery is measured by."""

    MODIFIED = "mtime"
    CHANGED = "ctime"


def to_json(delivery: Delivery | None, time: FileTime) -> bytes:
    """Columns on one axis of lumisections, `null` where a stream has no file.

    `{"lumisections": […], "streams": [{"name", "delay_s": […], "events": […]}], "start_is_guess"}`; all
    delays are `null` where the run's start is not known.
    """
    if delivery is None:
        return orjson.dumps({"lumisections": [], "streams": [], "start_is_guess": False})
    axis = sorted({ls for stream in delivery.streams for ls in stream.lumisections})
    return orjson.dumps(
        {
            "lumisections": axis,
            "streams": [_stream(delivery, stream, axis, time) for stream in delivery.streams],
            "start_is_guess": delivery.global_start is None or delivery.global_start_is_guess,
        }
    )


def delays_s(delivery: Delivery, lumisections: Sequence[int], times_ms: Sequence[int]) -> list[float | None]:
    """How long after its lumisection's end each file was delivered; never below 0 (protocol, `dqm-files`)."""
    if delivery.global_start is None:
        return [None] * len(lumisections)
    start_s, length_s = delivery.global_start.timestamp(), delivery.lumisection_s
    return [
        max(0.0, at_ms / 1000 - start_s - ls * length_s)
        for ls, at_ms in zip(lumisections, times_ms, strict=True)
    ]


def _stream(delivery: Delivery, stream: Stream, axis: Sequence[int], time: FileTime) -> Mapping[str, Any]:
    def on_axis(values: Iterable[float | None]) -> list[float | None]:
        by_lumisection = dict(zip(stream.lumisections, values, strict=True))
        return [by_lumisection.get(ls) for ls in axis]

    times = stream.ctimes_ms if time is FileTime.CHANGED else stream.mtimes_ms
    delays = delays_s(delivery, stream.lumisections, times)
    events = [None if events < 0 else events for events in stream.events_accepted]
    return {
        "name": stream.name,
        "delay_s": on_axis(None if delay is None else round(delay, 1) for delay in delays),
        "events": on_axis(events),
    }
