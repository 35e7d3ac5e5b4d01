"""Records made from DQM² documents: everything that passes from `dqm2/` to the database.

A record holds only what the data policy allows. Times are aware and in UTC, text is redacted, machines and
documents are keyed hashes. `None` stands for a value that the document lacks or whose parser rejected it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

# Length of one lumisection of data taking.
LUMISECTION_S = 23.310893056


class DocumentType(StrEnum):
    """Types of documents that are mirrored, in DQM²'s words."""

    JOB = "dqm-source-state"
    DELIVERY = "dqm-files"
    PLAYBACK = "dqm-playback"
    MEMORY = "dqm-stats"
    DISK = "dqm-diskspace"


class InputStatus(StrEnum):
    """Fate of a lumisection's input file, in DQM²'s words (`extra.lumi_seen`).

    The database stores a status as its position in this list: append only.
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
    """State of a simulator of the playback cluster. One that was killed stays `running` forever."""

    RUNNING = "running"
    END_OF_RUN = "eor"
    STOPPED = "stopped"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """Keyed hash of a document's id, its revision on its machine, and the time of its report."""

    identity: UUID
    revision: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MemorySeries:
    """Memory of a job over time: unix seconds, virtual size, resident size; ascending, equal lengths."""

    at_s: Sequence[int] = ()
    size_kb: Sequence[int] = ()
    rss_kb: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class EventSeries:
    """Events of a job, one entry per lumisection; ascending, equal lengths; `at_s` in unix seconds."""

    lumisections: Sequence[int] = ()
    at_s: Sequence[int] = ()
    events: Sequence[int] = ()
    duration_ms: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class InputStatuses:
    """Input status of each lumisection; ascending, equal lengths."""

    lumisections: Sequence[int] = ()
    statuses: Sequence[InputStatus] = ()


@dataclass(frozen=True, slots=True)
class JobLog:
    """Head and tail of a job's log after redaction, and the number of parts that were replaced."""

    head: str = ""
    tail: str = ""
    redactions: int = 0


class CrashKind(StrEnum):
    """Kind of the reason for a crash.

    The database stores the words: append only.
    """

    EXCEPTION = "exception"
    SIGNAL = "signal"
    ASSERTION = "assertion"
    CUDA = "cuda"
    TIMEOUT = "timeout"
    KILLED = "killed"
    OUT_OF_MEMORY = "out_of_memory"
    DATABASE = "database"
    CONFIGURATION = "configuration"
    NO_INPUT = "no_input"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StackFrame:
    """Function of a stack trace, without its arguments, and the name of its library; either may be empty."""

    function: str
    library: str


@dataclass(frozen=True, slots=True)
class CrashReason:
    """Reason for the end of a job, as its log has it; of a job without a log only the kind is known.

    `category` is that of an exception, or the name of a signal or CUDA error. `message` is one sentence.
    `frames` are the first frames of CMSSW's code in the thread that crashed. `line` is the place in the log:
    a line of `dqm2.log_messages.full_text`, counted from 1. All texts are redacted and of bounded length.
    """

    kind: CrashKind
    category: str = ""
    message: str = ""
    module_type: str = ""
    module_label: str = ""
    frames: tuple[StackFrame, ...] = ()
    line: int | None = None


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Errors of a log with the same category and module; `line` is the first line of the first of them."""

    category: str
    module: str
    count: int
    line: int


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One `cmsRun` process of a DQM client (`dqm-source-state`).

    `run` is 0 if the command line names none. `exit_code` is `None` while the job runs. `lumisection_at` is
    the first report of the newest lumisection, by the machine's clock. `crash` is `None` unless the job
    crashed.
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
    crash: CrashReason | None = None
    errors: tuple[ErrorGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """Files of one stream of a run, one entry per file; ascending by lumisection, equal lengths.

    `name` has no host part; a second stream of the same name is `streamDQM·2`. Times are unix milliseconds.
    Events and sizes are -1 where DQM² could not read the file.
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
    """File delivery of a run (`dqm-files`). `global_start` is a guess if it is from the first lumisection."""

    document: DocumentVersion
    run: int
    global_start: datetime | None
    global_start_is_guess: bool
    lumisection_s: float
    streams: tuple[Stream, ...]


@dataclass(frozen=True, slots=True)
class PlaybackRecord:
    """Run of the playback cluster's simulator (`dqm-playback`); `source_run` is the run played back."""

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

    `used_bytes` includes the page cache and is always near the total; `available_bytes` does not.
    """

    document: DocumentVersion
    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    available_bytes: int | None


@dataclass(frozen=True, slots=True)
class DiskRecord:
    """Disk of a machine (`dqm-diskspace`); the policy excludes its path and purpose."""

    document: DocumentVersion
    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    files: int | None


Record = JobRecord | DeliveryRecord | PlaybackRecord | MemoryRecord | DiskRecord


@dataclass(frozen=True, slots=True)
class MachineState:
    """Whether the gateway can reach a machine; `reason` is redacted."""

    is_up: bool
    reason: str | None
