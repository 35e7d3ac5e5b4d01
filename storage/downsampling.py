"""Series of a job that is over, thinned to what a graph of it can show."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TypeVar

from dqm2.records import EventSeries, MemorySeries

MAX_POINTS = 240

Series = TypeVar("Series", MemorySeries, EventSeries)


def downsample(series: Series) -> Series:
    """At most `MOST_POINTS` of a series, evenly spaced, the first and the last among them."""
    columns: list[Sequence[int]] = [getattr(series, field.name) for field in fields(series)]
    last = len(columns[0]) - 1
    if last < MAX_POINTS:
        return series
    kept = [round(point * last / (MAX_POINTS - 1)) for point in range(MAX_POINTS)]
    return type(series)(*([column[at] for at in kept] for column in columns))
