"""The file delivery of a run in a few numbers (protocol, "run statistics")."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, pstdev

from dqm2.records import Stream
from storage.read_models import Delivery

# The streams whose files clients wait for: the delay is theirs.
_AWAITED = ("streamDQM", "streamDQMHistograms")


@dataclass(frozen=True, slots=True)
class DeliveryStatistics:
    """What was delivered of a run; `None` is what is not known.

    The delay is by ctime, of the streams DQM and DQMHistograms; events accepted and bytes are of the files of
    all streams.
    """

    started_at: datetime | None
    delay_mean_s: float | None
    delay_deviation_s: float | None
    last_lumisection: int | None
    events_accepted: int | None
    size_bytes: int | None


def summarize(delivery: Delivery) -> DeliveryStatistics:
    """The numbers of a delivery."""
    streams = delivery.streams
    delays = _delays_s(delivery)
    return DeliveryStatistics(
        started_at=delivery.global_start,
        delay_mean_s=fmean(delays) if delays else None,
        delay_deviation_s=pstdev(delays) if delays else None,
        last_lumisection=max((ls for stream in streams for ls in stream.lumisections), default=None),
        events_accepted=_sum_known(stream.events_accepted for stream in streams),
        size_bytes=_sum_known(stream.sizes_bytes for stream in streams),
    )


def _delays_s(delivery: Delivery) -> list[float]:
    return [
        delay
        for stream in delivery.streams
        if _is_awaited(stream)
        for delay in delivery.delays_s(stream.lumisections, stream.ctimes_ms)
        if delay is not None
    ]


def _is_awaited(stream: Stream) -> bool:
    # A second stream of a name is told apart by a number behind it.
    return stream.name.partition("·")[0] in _AWAITED


def _sum_known(columns: Iterable[Iterable[int]]) -> int | None:
    """The sum of what is known, -1 standing for what is not; `None` if nothing is."""
    known = [value for column in columns for value in column if value >= 0]
    return sum(known) if known else None
