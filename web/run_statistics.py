"""The statistics of a run, as DQM² itself makes them (protocol, "run statistics")."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, pstdev

from mirror.findings import Delivery, Run
from mirror.records import Stream
from mirror.states import JobState
from web.delivery_graph import delays_s

# The streams whose files clients wait for: the delay is theirs.
_AWAITED = ("streamDQM", "streamDQMHistograms")


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """A run in numbers; `None` is what is not known, of which there is much without its file delivery.

    `started_at` is the run's start, `stopped_at` the newest report of a job; the delay is by ctime, of the
    streams DQM and DQMHistograms; events accepted and bytes are of the files of all streams.
    """

    run: int
    run_key: str | None
    started_at: datetime | None
    stopped_at: datetime | None
    delay_mean_s: float | None
    delay_deviation_s: float | None
    last_lumisection: int | None
    events_accepted: int | None
    size_bytes: int | None
    jobs: int
    crashed: int
    most_events: int | None
    highest_rate: float | None


def run_statistics(run: Run, delivery: Delivery | None) -> RunStatistics:
    """The statistics of a run and of its file delivery, if there is any."""
    streams = () if delivery is None else delivery.streams
    delays = [] if delivery is None else _delays_s(delivery)
    lumisections = [ls for stream in streams for ls in stream.lumisections]
    return RunStatistics(
        run=run.run,
        run_key=run.run_key,
        started_at=None if delivery is None else delivery.global_start,
        stopped_at=run.updated_at,
        delay_mean_s=fmean(delays) if delays else None,
        delay_deviation_s=pstdev(delays) if delays else None,
        last_lumisection=max(lumisections, default=run.lumisection),
        events_accepted=_sum_known(stream.events_accepted for stream in streams),
        size_bytes=_sum_known(stream.sizes_bytes for stream in streams),
        jobs=len(run.jobs),
        crashed=sum(job.state is JobState.CRASHED for job in run.jobs),
        most_events=max((job.events_total for job in run.jobs if job.events_total is not None), default=None),
        highest_rate=max((job.events_rate for job in run.jobs if job.events_rate is not None), default=None),
    )


def _delays_s(delivery: Delivery) -> list[float]:
    return [
        delay
        for stream in delivery.streams
        if _is_awaited(stream)
        for delay in delays_s(delivery, stream.lumisections, stream.ctimes_ms)
        if delay is not None
    ]


def _is_awaited(stream: Stream) -> bool:
    # A second stream of a name is told apart by a number behind it.
    return stream.name.partition("·")[0] in _AWAITED


def _sum_known(columns: Iterable[Iterable[int]]) -> int | None:
    """The sum of what is known, -1 standing for what is not; `None` if nothing is."""
    known = [value for column in columns for value in column if value >= 0]
    return sum(known) if known else None
