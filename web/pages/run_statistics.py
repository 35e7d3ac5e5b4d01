"""The statistics of a run, as DQM² itself makes them (protocol, "run statistics")."""

from dataclasses import dataclass
from datetime import datetime

from storage.delivery_statistics import DeliveryStatistics
from storage.job_state import JobState
from storage.read_models import Run

_NOTHING = DeliveryStatistics(None, None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """A run in numbers; `None` is what is not known, of which there is much without its file delivery.

    `started_at` is the run's start, `stopped_at` the newest report of a job; what is of its file delivery is
    as `DeliveryNumbers` has it.
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


def run_statistics(run: Run, delivered: DeliveryStatistics | None) -> RunStatistics:
    """The statistics of a run and of its file delivery, if there is any."""
    delivered = delivered or _NOTHING
    return RunStatistics(
        run=run.run,
        run_key=run.run_key,
        started_at=delivered.started_at,
        stopped_at=run.updated_at,
        delay_mean_s=delivered.delay_mean_s,
        delay_deviation_s=delivered.delay_deviation_s,
        last_lumisection=run.lumisection
        if delivered.last_lumisection is None
        else delivered.last_lumisection,
        events_accepted=delivered.events_accepted,
        size_bytes=delivered.size_bytes,
        jobs=len(run.jobs),
        crashed=sum(job.state is JobState.CRASHED for job in run.jobs),
        most_events=max((job.events_total for job in run.jobs if job.events_total is not None), default=None),
        highest_rate=max((job.events_rate for job in run.jobs if job.events_rate is not None), default=None),
    )
