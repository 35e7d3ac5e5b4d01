"""Series of a job that is over, thinned to what a graph of it can show."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TypeVar

from dqm2.records import EventSeries, MemorySeries

MOST_POINTS = 240

Series = TypeVar("Series", MemorySeries, EventSeries)


def thinned(series: Series) -> Series:
    """At most `MOST_POINTS` of a series, evenly spaced, the first and the last among them."""
    columns: list[Sequence[int]] = [getattr(series, field.name) for field in fields(series)]
    last = len(columns[0]) - 1
    if last < MOST_POINTS:
        return series
    kept = [round(point * last / (MOST_POINTS - 1)) for point in range(MOST_POINTS)]
    return type(series)(*([column[at] for at in kept] for column in columns))
