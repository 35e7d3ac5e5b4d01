"""Statistics of a run's file delivery (docs/dqm2-protocol.md, "Run statistics").

They are computed when the delivery is written, and stored with it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import fsum, sqrt
from statistics import fmean
from typing import Protocol

from dqm2.records import Stream

# The streams that clients read; delays are computed from their files.
_CLIENT_STREAMS = ("streamDQM", "streamDQMHistograms")


class FileDelivery(Protocol):
    """The file delivery of a run, as a record or as read from the database."""

    @property
    def global_start(self) -> datetime | None: ...
    @property
    def lumisection_s(self) -> float: ...
    @property
    def streams(self) -> tuple[Stream, ...]: ...


@dataclass(frozen=True, slots=True)
class DeliveryStatistics:
    """Statistics of a run's file delivery; `None` for values that are unknown.

    Delays are by ctime, of the streams DQM and DQMHistograms. Events accepted and bytes are totals over the
    files of all streams.
    """

    delay_mean_s: float | None
    delay_deviation_s: float | None
    last_lumisection: int | None
    events_accepted: int | None
    size_bytes: int | None


def summarize(delivery: FileDelivery) -> DeliveryStatistics:
    """Compute the statistics of a delivery."""
    streams = delivery.streams
    delays = _known_delays_s(delivery)
    mean_s = fmean(delays) if delays else None
    return DeliveryStatistics(
        delay_mean_s=mean_s,
        delay_deviation_s=None if mean_s is None else _deviation(delays, mean_s),
        last_lumisection=max((ls for stream in streams for ls in stream.lumisections), default=None),
        events_accepted=_sum_known(stream.events_accepted for stream in streams),
        size_bytes=_sum_known(stream.sizes_bytes for stream in streams),
    )


def delays_s(
    delivery: FileDelivery, lumisections: Sequence[int], times_ms: Sequence[int]
) -> list[float | None]:
    """Delay of each file after its lumisection's end, at least 0 (docs/dqm2-protocol.md, `dqm-files`)."""
    if delivery.global_start is None:
        return [None] * len(lumisections)
    start_s, length_s = delivery.global_start.timestamp(), delivery.lumisection_s
    return [
        max(0.0, at_ms / 1000 - start_s - ls * length_s)
        for ls, at_ms in zip(lumisections, times_ms, strict=True)
    ]


def _known_delays_s(delivery: FileDelivery) -> list[float]:
    return [
        delay
        for stream in delivery.streams
        if _is_client_stream(stream)
        for delay in delays_s(delivery, stream.lumisections, stream.ctimes_ms)
        if delay is not None
    ]


def _deviation(values: Sequence[float], mean: float) -> float:
    """Standard deviation; that of the standard library computes with fractions, at twenty times the cost."""
    return sqrt(fsum([(value - mean) ** 2 for value in values]) / len(values))


def _is_client_stream(stream: Stream) -> bool:
    # A second stream of the same name has a number appended.
    return stream.name.partition("·")[0] in _CLIENT_STREAMS


def _sum_known(columns: Iterable[Iterable[int]]) -> int | None:
    """The sum of the known values, where -1 means unknown; `None` if none is known."""
    known = [value for column in columns for value in column if value >= 0]
    return sum(known) if known else None
