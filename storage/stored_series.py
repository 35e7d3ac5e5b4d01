"""Stored series of jobs and runs; one that is damaged is left out, and reported once."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeVar
from uuid import UUID

from dqm2.records import EventSeries, InputStatuses, MemorySeries
from runtime import logging_setup
from storage import codecs
from storage.codecs import DamagedSeries

log = logging.getLogger(__name__)

# Damaged series that are remembered, so that each is reported once.
_MAX_REPORTED = 1000

SeriesName = Literal["memory", "events", "input"]
_Series = TypeVar("_Series")


@dataclass(frozen=True, slots=True)
class JobSeries:
    """The series of a job; those that are `damaged` are empty."""

    memory: MemorySeries = field(default_factory=MemorySeries)
    events: EventSeries = field(default_factory=EventSeries)
    input_statuses: InputStatuses = field(default_factory=InputStatuses)
    damaged: tuple[SeriesName, ...] = ()


def unpack_job(row: Any) -> JobSeries:
    """The series in a row of `job_details`."""
    memory = unpack(row.identity, codecs.unpack_memory, row.memory)
    events = unpack(row.identity, codecs.unpack_events, row.events)
    statuses = unpack_input_statuses(row)
    series: dict[SeriesName, object] = {"memory": memory, "events": events, "input": statuses}
    return JobSeries(
        memory or MemorySeries(),
        events or EventSeries(),
        statuses or InputStatuses(),
        tuple(name for name, unpacked in series.items() if unpacked is None),
    )


def unpack_input_statuses(row: Any) -> InputStatuses | None:
    """The input statuses in a row of `job_details`; `None` if they are damaged."""
    return unpack(row.identity, codecs.unpack_input_statuses, row.input_statuses)


def unpack(document: UUID, codec: Callable[[bytes], _Series], packed: bytes) -> _Series | None:
    """A series of a document; `None` if it is damaged."""
    try:
        return codec(packed)
    except DamagedSeries as error:
        _report(document, str(error))
        return None


@lru_cache(_MAX_REPORTED)
def _report(document: UUID, reason: str) -> None:
    log.warning("series_damaged document=%s reason=%s", document, logging_setup.quote_value(reason))
