"""Results of the readers: runs, jobs, machines and sync status."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol
from uuid import UUID

from dqm2.records import (
    CrashReason,
    ErrorGroup,
    JobLog,
    SimulatorState,
    Stream,
)
from storage import job_state
from storage.client_names import client_name
from storage.job_state import JobState
from storage.stored_series import JobSeries
from storage.sync_status import LinkStatus


@dataclass(frozen=True, slots=True)
class RunSpan:
    """The lowest and the highest mirrored run; both `None` if there is none."""

    lowest: int | None
    highest: int | None


@dataclass(frozen=True, slots=True)
class FoundSpan:
    """The number of runs that were found, and the lowest and the highest of them, `None` if there is none."""

    count: int
    lowest: int | None
    highest: int | None


@dataclass(frozen=True, slots=True)
class AdjacentRuns:
    """The runs before and after a run, `None` if there is none."""

    previous: int | None
    next: int | None


@dataclass(frozen=True, slots=True)
class DroppedField:
    """A field of which values were left out: in how many reports of documents, and when last."""

    name: str
    documents: int
    newest_at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a run, as lists show it; `lag` is its distance (LS) from the run's newest lumisection.

    `first_seen_at` is the time of the earliest report that is known. It orders a client's jobs. `crash` is
    the reason for its end, and `crash_group` the signature of its group; `None` if it did not crash or is not
    analyzed yet.
    """

    id: UUID
    run: int
    client: str
    machine: str
    state: JobState
    exit_code: int | None
    first_seen_at: datetime
    updated_at: datetime
    cmssw_run: int | None
    lumisection: int | None
    lumisections_skipped: int
    lag: int
    events_total: int | None
    events_rate: float | None
    fi_state: int | None
    rss_kb: int | None
    crash: CrashReason | None = None
    crash_group: str | None = None

    @property
    def name(self) -> str:
        """The client's name, i.e. its tag without the usual suffix."""
        return client_name(self.client)

    @property
    def started_at(self) -> datetime | None:
        """The time of the first report; `None` if only one is known, which need not be the first."""
        return self.first_seen_at if self.first_seen_at < self.updated_at else None

    @property
    def lost_at(self) -> datetime | None:
        """The time at which the job becomes lost unless it reports again."""
        return job_state.lost_at(self.state, self.updated_at)


@dataclass(frozen=True, slots=True)
class Run:
    """A run and its jobs, ordered by client name and start; `global_start` is that of its file delivery."""

    run: int
    run_key: str | None
    cmssw_version: str | None
    global_start: datetime | None
    is_ongoing: bool
    jobs: tuple[Job, ...]

    @property
    def is_final(self) -> bool:
        """Whether the states of all jobs are terminal."""
        return all(job.state.is_terminal for job in self.jobs)

    @property
    def state_changes_at(self) -> datetime | None:
        """The time at which the state of a job changes without another report."""
        return job_state.earliest_loss((job.state, job.updated_at) for job in self.jobs)

    @property
    def cmssw_run(self) -> int | None:
        """The run that the jobs really read."""
        return cmssw_run(self.jobs)

    @property
    def lumisection(self) -> int | None:
        """The newest lumisection of any job."""
        return max((job.lumisection for job in self.jobs if job.lumisection is not None), default=None)

    @property
    def started_at(self) -> datetime | None:
        """The start by the file delivery, else that of the earliest job; `None` if neither is known."""
        first = min((start for job in self.jobs if (start := job.started_at) is not None), default=None)
        return delivery_start(self.global_start, self.updated_at) or first

    @property
    def first_seen_at(self) -> datetime | None:
        """The time of the earliest report of a job that is known."""
        return min((job.first_seen_at for job in self.jobs), default=None)

    @property
    def updated_at(self) -> datetime | None:
        """The time of the newest report of any job."""
        return max((job.updated_at for job in self.jobs), default=None)


@dataclass(frozen=True, slots=True)
class ExpectedClients:
    """The clients, by tag, that a run should have; `startup` is the usual time until all have started.

    `startup` is `None` if it is not known.
    """

    clients: frozenset[str] = frozenset()
    startup: timedelta | None = None


class ClientSummary(NamedTuple):
    """The jobs of a client in a run: their worst state, their number, and how many of them crashed.

    `last_crash` is the id of the last job that crashed. `events_total` is that of the job if it is the only
    one. A page has a thousand, and a tuple is made three times as fast as a dataclass.
    """

    state: JobState
    jobs: int
    crashed: int
    last_crash: str | None
    events_total: int | None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run and its clients, by name, as summaries of many runs show them.

    `started_at` and `updated_at` are those of `Run`. `state_changes_at`: the time at which the state of a job
    changes without another report.
    """

    run: int
    run_key: str | None
    cmssw_version: str | None
    started_at: datetime | None
    updated_at: datetime
    clients: Mapping[str, ClientSummary]
    state_changes_at: datetime | None


@dataclass(frozen=True, slots=True)
class Playback:
    """The simulator of a run of the playback cluster."""

    run: int
    machine: str
    state: SimulatorState | None
    lumisection: int | None
    number_of_ls: int | None
    run_key: str | None
    source_run: int | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """The file delivery of a run; one that is damaged has no streams."""

    id: UUID
    run: int
    revision: int
    machine: str
    updated_at: datetime
    global_start: datetime | None
    global_start_is_guess: bool
    lumisection_s: float
    streams: tuple[Stream, ...]
    is_damaged: bool = False


@dataclass(frozen=True, slots=True)
class JobDetails:
    """Series and log of a job; empty, with `is_retained` false, after their retention has passed.

    `errors` are those of the log, which are kept. A log that is damaged is empty.
    """

    job: Job
    series: JobSeries
    log: JobLog
    errors: tuple[ErrorGroup, ...] = ()
    is_retained: bool = True
    is_log_damaged: bool = False

    @property
    def has_log(self) -> bool:
        """Whether the log is known, though it may be empty."""
        return self.is_retained and not self.is_log_damaged


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """State of a machine as the gateway reported it at `checked_at`; it has been in it since `since`.

    `is_current` is false for the last state that an earlier mirror recorded.
    """

    machine: str
    is_up: bool
    reason: str | None
    since: datetime
    checked_at: datetime
    is_current: bool

    @property
    def is_down(self) -> bool:
        """Whether DQM² reports that the machine is down."""
        return self.is_current and not self.is_up


@dataclass(frozen=True, slots=True)
class StateChange:
    """A change of a machine's state as the gateway reported it; `reason` is redacted."""

    machine: str
    at: datetime
    is_up: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Disk:
    """Usage of a machine's disk."""

    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    files: int | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory usage of a machine."""

    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    available_bytes: int | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class QuarantineSummary:
    """Quarantined documents of a machine: their number, and time, type and reason of the latest.

    `has_more`: there are even more than `count`. `reason` contains nothing sensitive.
    """

    count: int
    has_more: bool
    latest_at: datetime
    latest_type: str
    reason: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A mirrored machine: its link, its newest mirrored revision and its resources.

    `quarantine` is `None` if all documents could be stored.
    """

    label: str
    link: LinkStatus
    revision: int | None
    clock_at: datetime | None
    memory: Memory | None
    disks: tuple[Disk, ...]
    quarantine: QuarantineSummary | None


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """The grabber's last heartbeat with the status of each link; machines are named by label."""

    heartbeat_at: datetime
    gateway: LinkStatus
    status: LinkStatus
    machines: tuple[tuple[str, LinkStatus], ...]
    certificate_expires_at: datetime | None = None


class _ReadingJob(Protocol):
    """A job that reports which run it reads."""

    @property
    def cmssw_run(self) -> int | None: ...
    @property
    def updated_at(self) -> datetime: ...


def cmssw_run(jobs: Iterable[_ReadingJob]) -> int | None:
    """The run that jobs really read, by the newest report that names one.

    A job without events reports 0, which counts only if all jobs do.
    """
    jobs = list(jobs)
    reported = {job.cmssw_run for job in jobs}
    if len(reported) == 1:
        return reported.pop()
    reading = [job for job in jobs if job.cmssw_run is not None]
    newest = max(reading, key=lambda job: (bool(job.cmssw_run), job.updated_at), default=None)
    return None if newest is None else newest.cmssw_run


def has_another_release(run: Run | RunSummary, other: Run | RunSummary) -> bool:
    """Whether two runs are known to have different CMSSW versions."""
    versions = {run.cmssw_version, other.cmssw_version}
    return None not in versions and len(versions) > 1


def delivery_start(global_start: datetime | None, updated_at: datetime | None) -> datetime | None:
    """The start of a run by its file delivery; `None` without one before the newest report."""
    is_known = global_start is not None and updated_at is not None and global_start <= updated_at
    return global_start if is_known else None
