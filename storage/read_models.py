"""What a reader finds in the mirror: runs, jobs, machines and how fresh they are, all in dataclasses."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dqm2.records import EventSeries, InputStatuses, JobLog, MemorySeries, SimulatorState, Stream
from storage.job_state import JobState
from storage.sync_status import LinkStatus

# What the tags of most clients end in.
_USUAL_END = "_dqm_sourceclient-live"


@dataclass(frozen=True, slots=True)
class RunSpan:
    """The lowest and the highest run that is mirrored; both `None` when there is none."""

    lowest: int | None
    highest: int | None


@dataclass(frozen=True, slots=True)
class AdjacentRuns:
    """The runs before and after a run."""

    previous: int | None
    next: int | None


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a run, as lists show it; `lag` is how many lumisections it is behind the run's newest."""

    id: UUID
    run: int
    client: str
    machine: str
    state: JobState
    exit_code: int | None
    started_at: datetime
    updated_at: datetime
    cmssw_run: int | None
    lumisection: int | None
    lumisections_skipped: int
    lag: int
    events_total: int | None
    events_rate: float | None
    fi_state: int | None
    rss_kb: int | None

    @property
    def name(self) -> str:
        """The client's name as users know it: its tag without what most tags end in."""
        return client_name(self.client)


@dataclass(frozen=True, slots=True)
class Run:
    """A run and its jobs, ordered by client, then by start."""

    run: int
    run_key: str | None
    cmssw_version: str | None
    is_ongoing: bool
    jobs: tuple[Job, ...]

    @property
    def is_final(self) -> bool:
        """Whether no clock can change the state of any of its jobs."""
        return all(job.state.is_terminal for job in self.jobs)

    @property
    def lumisection(self) -> int | None:
        """The newest lumisection that any of its jobs has reached."""
        return max((job.lumisection for job in self.jobs if job.lumisection is not None), default=None)

    @property
    def started_at(self) -> datetime | None:
        """The first report of any of its jobs."""
        return min((job.started_at for job in self.jobs), default=None)

    @property
    def updated_at(self) -> datetime | None:
        """The newest report of any of its jobs."""
        return max((job.updated_at for job in self.jobs), default=None)


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job where many runs are shown at once; `name` is its client's, as users know it."""

    name: str
    started_at: datetime
    state: JobState
    events_total: int | None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run where many are shown at once, and its jobs, ordered by client, then by start."""

    run: int
    run_key: str | None
    jobs: tuple[JobSummary, ...]

    @property
    def started_at(self) -> datetime | None:
        """The first report of any of its jobs."""
        return min((job.started_at for job in self.jobs), default=None)


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
    """The file delivery of a run."""

    id: UUID
    run: int
    revision: int
    machine: str
    updated_at: datetime
    global_start: datetime | None
    global_start_is_guess: bool
    lumisection_s: float
    streams: tuple[Stream, ...]

    def delays_s(self, lumisections: Sequence[int], times_ms: Sequence[int]) -> list[float | None]:
        """How long after its lumisection's end each file came; never below 0 (protocol, `dqm-files`)."""
        if self.global_start is None:
            return [None] * len(lumisections)
        start_s, length_s = self.global_start.timestamp(), self.lumisection_s
        return [
            max(0.0, at_ms / 1000 - start_s - ls * length_s)
            for ls, at_ms in zip(lumisections, times_ms, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class JobDetails:
    """What is shown of a job when it is opened; all empty once series and log are no longer kept."""

    job: Job
    memory: MemorySeries
    events: EventSeries
    input_statuses: InputStatuses
    log: JobLog
    is_retained: bool = True


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """Whether a machine answers, as the gateway saw it at `checked_at`; in that state since `since`."""

    machine: str
    is_up: bool
    reason: str | None
    since: datetime
    checked_at: datetime | None


@dataclass(frozen=True, slots=True)
class StateChange:
    """A machine was seen to go up or down; `reason` is redacted."""

    machine: str
    at: datetime
    is_up: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a machine, in bytes."""

    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    files: int | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a machine, in bytes."""

    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    available_bytes: int | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class QuarantineSummary:
    """Documents of a machine that could not be stored: how many, and when, of which type and why the newest.

    `has_more`: there are even more than `number`. `reason` holds nothing sensitive.
    """

    count: int
    has_more: bool
    latest_at: datetime
    latest_type: str
    reason: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that is mirrored: its link, how far it is mirrored, and its resources.

    `set_aside` is `None` where every document could be stored.
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
    """The grabber's last sign of life and what it knew of each link; machines by label."""

    heartbeat_at: datetime
    gateway: LinkStatus
    status: LinkStatus
    machines: tuple[tuple[str, LinkStatus], ...]
    certificate_expires_at: datetime | None = None


def client_name(tag: str) -> str:
    """A client's name: its tag without `_dqm_sourceclient-live` (api, `get_clients`)."""
    return tag.removesuffix(_USUAL_END)


def client_tags(name: str) -> tuple[str, ...]:
    """The tags that a client of this name can have."""
    return name, f"{name}{_USUAL_END}"
