"""State of a job and of a run. It is computed here only, for pages, API and metrics alike.

Silence is measured on the machine's own clock, i.e. against its newest document of any type, so that neither
a late mirror nor a wrong clock makes a job stuck. A machine that is not mirrored any more has no clock; its
jobs are lost. The rules: docs/architecture.md, "States of a job".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from dqm2.pseudonyms import Pseudonymizer
from dqmsquare_cfg import Cluster, Settings

# Time after its last report from which a job without an exit code is lost.
LOST_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class StateRules:
    """Settings that the states of a cluster's jobs depend on; `machines` are the configured ones by hash."""

    stuck_after: timedelta
    machines: frozenset[UUID]

    @classmethod
    def for_cluster(cls, settings: Settings, cluster: Cluster) -> "StateRules":
        """The rules for the jobs of a cluster."""
        pseudonymizer = Pseudonymizer(settings.pseudonym_secret)
        machines = frozenset(map(pseudonymizer.for_machine, settings.machines(cluster)))
        return cls(timedelta(seconds=settings.stuck_after_s), machines)


class JobState(StrEnum):
    """State of a job according to its reports."""

    # Worst first.
    CRASHED = "crashed"
    STUCK = "stuck"
    LOST = "lost"
    RUNNING = "running"
    FINISHED = "finished"

    @property
    def is_terminal(self) -> bool:
        """Whether only another report of the job can change it, not the passage of time."""
        return self not in (JobState.STUCK, JobState.RUNNING)


class JobStateInputs(Protocol):
    """Values that determine the state of a job; the `machine_…` ones are those of its machine.

    `machine_is_mirrored`: the configuration names the machine.
    """

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
    def machine_is_mirrored(self) -> bool: ...
    @property
    def machine_clock_at(self) -> datetime | None: ...
    @property
    def machine_newest_run(self) -> int | None: ...


def job_states(jobs: Sequence[JobStateInputs], stuck_after: timedelta, now: datetime) -> list[JobState]:
    """The states of the jobs of one run at the time `now`, in the given order.

    All jobs of the run that have no exit code are needed: a job whose lumisection does not advance is stuck
    only if others advance.
    """
    others_advance = any(_advances(job, stuck_after, now) for job in jobs)
    return [_job_state(job, stuck_after, now, others_advance=others_advance) for job in jobs]


def is_ongoing(jobs: Sequence[JobStateInputs], stuck_after: timedelta, now: datetime) -> bool:
    """Whether a run is ongoing: at least one of its jobs has no exit code and still reports."""
    return any(job.exit_code is None and _reports(job, stuck_after, now) for job in jobs)


def lost_at(state: JobState, updated_at: datetime) -> datetime | None:
    """The time at which a job becomes lost unless it reports again; `None` if its state is terminal."""
    return None if state.is_terminal else updated_at + LOST_AFTER


def earliest_loss(jobs: Iterable[tuple[JobState, datetime]]) -> datetime | None:
    """The earliest time at which one of some jobs becomes lost, by the state and last report of each."""
    losses = (lost_at(state, updated_at) for state, updated_at in jobs)
    return min((at for at in losses if at is not None), default=None)


def count_by_state(states: Iterable[JobState]) -> dict[JobState, int]:
    """The number of jobs in each state, including zeros."""
    counts = dict.fromkeys(JobState, 0)
    for state in states:
        counts[state] += 1
    return counts


def _job_state(
    job: JobStateInputs, stuck_after: timedelta, now: datetime, *, others_advance: bool
) -> JobState:
    if job.exit_code is not None:
        return JobState.FINISHED if job.exit_code == 0 else JobState.CRASHED
    if _is_gone(job, now):
        return JobState.LOST
    if _is_silent(job, stuck_after):
        has_newer_run = job.machine_newest_run is not None and job.machine_newest_run > job.run
        return JobState.LOST if has_newer_run else JobState.STUCK
    if others_advance and _stands_still(job, stuck_after):
        return JobState.STUCK
    return JobState.RUNNING


def _is_gone(job: JobStateInputs, now: datetime) -> bool:
    """Whether no further report of a job without an exit code is expected."""
    latest = now if job.machine_clock_at is None else max(now, job.machine_clock_at)
    return not job.machine_is_mirrored or latest - job.updated_at >= LOST_AFTER


def _is_silent(job: JobStateInputs, stuck_after: timedelta) -> bool:
    return job.machine_clock_at is not None and job.machine_clock_at - job.updated_at >= stuck_after


def _reports(job: JobStateInputs, stuck_after: timedelta, now: datetime) -> bool:
    return not (_is_gone(job, now) or _is_silent(job, stuck_after))


def _stands_still(job: JobStateInputs, stuck_after: timedelta) -> bool:
    since_lumisection = _time_in_lumisection(job)
    return since_lumisection is not None and since_lumisection >= stuck_after


def _advances(job: JobStateInputs, stuck_after: timedelta, now: datetime) -> bool:
    if job.exit_code is not None or not _reports(job, stuck_after, now):
        return False
    since_lumisection = _time_in_lumisection(job)
    return since_lumisection is not None and since_lumisection < stuck_after


def _time_in_lumisection(job: JobStateInputs) -> timedelta | None:
    """Time since a job reached its lumisection; `None` at LS 0.

    A job at LS 0 has had no input yet. It waits, as a client does whose stream is not part of the run.
    """
    if not job.lumisection or job.lumisection_at is None:
        return None
    now = job.updated_at if job.machine_clock_at is None else max(job.machine_clock_at, job.updated_at)
    return now - job.lumisection_at
