"""The state of a job and of a run: the one place where it is decided, for pages, API and metrics alike.

Silence is measured on the machine's own clock, that is against its newest document of any type, so that
neither a late mirror nor a wrong clock makes a job stuck (design, "Rules of the house").
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol


class JobState(StrEnum):
    """What a job is doing, as far as its reports tell."""

    CRASHED = "crashed"
    STUCK = "stuck"
    LOST = "lost"
    RUNNING = "running"
    FINISHED = "finished"

    @property
    def is_terminal(self) -> bool:
        """Whether no clock can change it, only another report of the job."""
        return self not in (JobState.STUCK, JobState.RUNNING)


class JobStateInputs(Protocol):
    """What the state of a job depends on; `machine_clock_at` and `machine_newest_run` are its machine's."""

    @property
    def run(self) -> int: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def updated_at(self) -> datetime: ...
    @property
    def lumisection(self) -> int | None: ...
    @property
    def lumisection_at(self) -> datetime | None: ...
    @property
    def machine_clock_at(self) -> datetime | None: ...
    @property
    def machine_newest_run(self) -> int | None: ...


def job_states(jobs: Sequence[JobStateInputs], stuck_after: timedelta) -> list[JobState]:
    """The states of all jobs of one run, in the order given.

    A job whose lumisection stands still is stuck only while others of the run go on, so all are needed.
    """
    going_on = sum(_advances(job, stuck_after) for job in jobs)
    return [_job_state(job, stuck_after, others_go_on=going_on > 0) for job in jobs]


def is_ongoing(jobs: Sequence[JobStateInputs], stuck_after: timedelta) -> bool:
    """Whether a run goes on: its machines report jobs of it that run."""
    return any(job.exit_code is None and not _is_silent(job, stuck_after) for job in jobs)


def count_by_state(states: Iterable[JobState]) -> dict[JobState, int]:
    """How many there are of each state, those of which there is none included."""
    counts = dict.fromkeys(JobState, 0)
    for state in states:
        counts[state] += 1
    return counts


def _job_state(job: JobStateInputs, stuck_after: timedelta, *, others_go_on: bool) -> JobState:
    match job.exit_code:
        case None:
            pass
        case 0:
            return JobState.FINISHED
        case _:
            return JobState.CRASHED
    if _is_silent(job, stuck_after):
        has_newer = job.machine_newest_run is not None and job.machine_newest_run > job.run
        return JobState.LOST if has_newer else JobState.STUCK
    if others_go_on and _stands_still(job, stuck_after):
        return JobState.STUCK
    return JobState.RUNNING


def _is_silent(job: JobStateInputs, stuck_after: timedelta) -> bool:
    return job.machine_clock_at is not None and job.machine_clock_at - job.updated_at >= stuck_after


def _stands_still(job: JobStateInputs, stuck_after: timedelta) -> bool:
    # A job at LS 0 has had no input yet. It waits, as a client does whose stream the run does not have.
    if not job.lumisection or job.lumisection_at is None:
        return False
    return _now(job) - job.lumisection_at >= stuck_after


def _advances(job: JobStateInputs, stuck_after: timedelta) -> bool:
    if job.exit_code is not None or not job.lumisection or job.lumisection_at is None:
        return False
    return not _is_silent(job, stuck_after) and _now(job) - job.lumisection_at < stuck_after


def _now(job: JobStateInputs) -> datetime:
    return job.updated_at if job.machine_clock_at is None else max(job.machine_clock_at, job.updated_at)
