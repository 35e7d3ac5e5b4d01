"""What a document of DQM² becomes: the mirror's records, all that crosses from `dqm2/` into the database.

A record holds only what the data policy lets out of P5. Times are aware and in UTC, text is redacted,
machines and documents are keyed hashes. `None` says that the document did not have the value, or not in
the shape that it must have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

# One lumisection of data taking, in seconds.
LUMISECTION_S = 23.310893056


class DocumentType(StrEnum):
    """The types of documents that are mirrored, in DQM²'s words."""

    JOB = "dqm-source-state"
    DELIVERY = "dqm-files"
    PLAYBACK = "dqm-playback"
    MEMORY = "dqm-stats"
    DISK = "dqm-diskspace"


class InputStatus(StrEnum):
    """What became of the input file of a lumisection, in DQM²'s words (`extra.lumi_seen`).

    The order of the members is the code under which the database keeps them: append only.
    """

    EMPTY = ""
    OPEN = "open: file iterator"
    EOF = "close: eof"
    OK = "close: ok"
    NOT_LOADING = "close: not loading"
    OTHER_FILE = "close: skipping to another file"
    FORCED_END = "close: forced end-of-run"
    TIMEOUT = "skipped: timeout"
    FAST_FORWARD = "skipped: fast-forward to the latest lumi"

    @property
    def is_skipped(self) -> bool:
        """Whether the lumisection was not monitored."""
        return self.value.startswith("skipped:")


class SimulatorState(StrEnum):
    """The state of a simulator of the playback cluster. One that was killed stays `running` for ever."""

    RUNNING = "running"
    END_OF_RUN = "eor"
    STOPPED = "stopped"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """Which document a record was made of: its keyed hash and its revision on its machine."""

    identity: UUID
    revision: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MemorySeries:
    """Memory of a job over time: unix seconds, virtual size and resident memory; ascending, equal lengths."""

    at_s: Sequence[int] = ()
    size_kb: Sequence[int] = ()
    rss_kb: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class EventSeries:
    """Events of a job by lumisection, one entry each, ascending, equal lengths; `at_s` in unix seconds."""

    lumisections: Sequence[int] = ()
    at_s: Sequence[int] = ()
    events: Sequence[int] = ()
    duration_ms: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class InputStatuses:
    """What became of the input of each lumisection; ascending, equal lengths."""

    lumisections: Sequence[int] = ()
    statuses: Sequence[InputStatus] = ()


@dataclass(frozen=True, slots=True)
class JobLog:
    """Head and tail of a job's log after redaction, and how many parts of it were replaced."""

    head: str = ""
    tail: str = ""
    redactions: int = 0


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One `cmsRun` process of a DQM client (`dqm-source-state`).

    `run` is 0 if the job was told none. `exit_code` is `None` while the job runs. `lumisection_at` is
    when the job first reported its newest lumisection, by its machine's clock.
    """

    document: DocumentVersion
    run: int
    client: str
    started_at: datetime
    exit_code: int | None
    run_key: str | None
    cmssw_version: str | None
    cmssw_run: int | None
    lumisection: int | None
    lumisection_at: datetime | None
    events_total: int | None
    events_rate: float | None
    fi_state: int | None
    rss_kb: int | None
    memory: MemorySeries
    events: EventSeries
    input_statuses: InputStatuses
    log: JobLog


@dataclass(frozen=True, slots=True)
class Stream:
    """The files of one stream of a run, one entry a lumisection's file; ascending, equal lengths.

    `name` has no host part; a second stream of a name is `streamDQM·2`. Times are unix milliseconds.
    Events and size are -1 where the file could not be read.
    """

    name: str
    lumisections: Sequence[int]
    mtimes_ms: Sequence[int]
    ctimes_ms: Sequence[int]
    events_accepted: Sequence[int]
    events_processed: Sequence[int]
    sizes_bytes: Sequence[int]


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """File delivery of a run (`dqm-files`). `global_start` is a guess unless it is from the global file."""

    document: DocumentVersion
    run: int
    global_start: datetime | None
    global_start_is_guess: bool
    lumisection_s: float
    streams: tuple[Stream, ...]


@dataclass(frozen=True, slots=True)
class PlaybackRecord:
    """A run of the playback cluster's simulator (`dqm-playback`); `source_run` is the run played back."""

    document: DocumentVersion
    run: int
    state: SimulatorState | None
    lumisection: int | None
    number_of_ls: int | None
    run_key: str | None
    source_run: int | None


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """Memory of a machine (`dqm-stats`).

    `used_bytes` includes the page cache and is always near the total; `available_bytes` tells the truth.
    """

    document: DocumentVersion
    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    available_bytes: int | None


@dataclass(frozen=True, slots=True)
class DiskRecord:
    """A disk of a machine (`dqm-diskspace`); `None` where a number is unknown.

    Which disk it is stays at P5: the data policy names neither its path nor what watches it.
    """

    document: DocumentVersion
    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    files: int | None


Record = JobRecord | DeliveryRecord | PlaybackRecord | MemoryRecord | DiskRecord


@dataclass(frozen=True, slots=True)
class MachineState:
    """Whether a machine answers, as the gateway sees it; `reason` is redacted."""

    is_up: bool
    reason: str | None
