"""Types of the responses. Their schemas are made from them, so field names and docstrings are public.

Sizes are in bytes, durations in seconds, times in UTC; `null` is a value that is not known.
"""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from dqm2.records import CrashKind, InputStatus
from dqmsquare_cfg import Cluster
from storage.cluster_reader import MAX_COUNTED
from storage.crash_marks import CrashMark
from storage.job_state import JobState
from storage.stored_series import SeriesName
from storage.sync_status import CATCHING_UP_DOCUMENTS
from storage.transitions import RETENTION, STATES, TransitionKind
from web.api_v1.queries import RunState, Time

MAX_CRASHED_JOBS = 200
Bytes = Annotated[int, Meta(ge=0)]
_STATES = "; ".join(f"`{kind}`: `{'`, `'.join(states)}`" for kind, states in STATES.items())
Cursor = Annotated[str | None, Meta(description="`cursor` of the next page; `null` if this is the last one.")]


class Resource(msgspec.Struct):
    """Base of all resources."""


class ClusterSummary(Resource):
    """A cluster of DQM machines and the runs that are mirrored of it."""

    name: Cluster
    is_available: Annotated[bool, Meta(description="Whether the database of the cluster responds.")]
    oldest_run: Annotated[int | None, Meta(description="The lowest run that has jobs.")]
    newest_run: Annotated[int | None, Meta(description="The highest run that has jobs.")]


class Clusters(Resource):
    """All clusters, by name."""

    items: list[ClusterSummary]


class RunSummary(Resource):
    """A run. `playback` plays earlier runs under numbers of its own."""

    run: int
    state: Annotated[RunState, Meta(description="`ongoing` while a job of it reports, else `ended`.")]
    run_key: str | None
    cmssw_version: Annotated[str | None, Meta(description="CMSSW release, without `CMSSW_`.")]
    cmssw_run: Annotated[int | None, Meta(description="Run that the jobs really read.")]
    started_at: Annotated[
        Time | None, Meta(description="Start by the file delivery, else that of the earliest job.")
    ]
    updated_at: Annotated[Time | None, Meta(description="Newest report of a job.")]
    lumisection: Annotated[int | None, Meta(description="Newest lumisection of any job.")]
    jobs_by_state: Annotated[
        dict[JobState, int], Meta(description="Number of jobs in each state, including zeros.")
    ]


class RunPage(Resource):
    """Runs that match, newest first. A page may have fewer than `limit`, even none, and yet have a next."""

    items: list[RunSummary]
    next_cursor: Cursor


class Run(RunSummary):
    """A run and its neighbours."""

    previous_run: Annotated[int | None, Meta(description="The run with jobs before this one.")]
    next_run: Annotated[int | None, Meta(description="The run with jobs after this one.")]


class StackFrame(Resource):
    """A function of a stack trace and the library that it is in."""

    function: str | None
    library: str | None


class Crash(Resource):
    """Reason for the end of a job, found in its log."""

    kind: CrashKind
    category: Annotated[
        str | None, Meta(description="Category of an exception, name of a signal or of a CUDA error.")
    ]
    message: str | None
    module_type: str | None
    module_label: str | None
    frames: Annotated[list[StackFrame], Meta(description="First frames of CMSSW's code.")]
    log_line: Annotated[int | None, Meta(description="Line of the job's log that says so, from 1.")]


class Job(Resource):
    """A job, i.e. one process of a DQM client in a run."""

    id: UUID
    run: int
    client: Annotated[str, Meta(description="Tag of the client without `_dqm_sourceclient-live`.")]
    machine: Annotated[str, Meta(description="Label of the machine.")]
    state: JobState
    exit_code: Annotated[int | None, Meta(description="`null` while the job runs, and if it is lost.")]
    started_at: Annotated[Time | None, Meta(description="`null` if only one report is known.")]
    updated_at: Annotated[Time, Meta(description="Newest report.")]
    cmssw_run: Annotated[int | None, Meta(description="Run that the job really reads.")]
    lumisection: Annotated[int | None, Meta(description="Newest lumisection.")]
    lumisections_behind: Annotated[
        int, Meta(description="Distance from the newest lumisection of any job of the run.")
    ]
    lumisections_skipped: int
    events_total: int | None
    events_per_s: float | None
    fi_state: Annotated[int | None, Meta(description="State of the file iterator, as DQM² numbers it.")]
    rss_bytes: Annotated[Bytes | None, Meta(description="Resident memory.")]
    crash: Annotated[Crash | None, Meta(description="`null` unless the job crashed and its log is analyzed.")]
    crash_group: Annotated[str | None, Meta(description="Signature of the group of crashes.")]


class Jobs(Resource):
    """Jobs of a run that match, by client, then by start."""

    items: list[Job]


class MemorySeries(Resource):
    """Memory of a job over time, as arrays of equal length."""

    times: list[Time]
    size_bytes: Annotated[list[int], Meta(description="Virtual memory.")]
    rss_bytes: Annotated[list[int], Meta(description="Resident memory.")]


class EventSeries(Resource):
    """Events that a job processed in each lumisection, as arrays of equal length."""

    lumisections: list[int]
    times: list[Time]
    events: list[int]
    duration_s: Annotated[list[float], Meta(description="Time that the job took for the lumisection.")]


class InputSeries(Resource):
    """Fate of the input file of each lumisection in DQM²'s words, as arrays of equal length."""

    lumisections: list[int]
    statuses: list[InputStatus]


class LogError(Resource):
    """Errors in a log with the same category and module."""

    category: str
    module: str | None
    count: int
    log_line: Annotated[int, Meta(description="Line of the first of them in the job's log, from 1.")]


class JobWithSeries(Job):
    """A job with its series, and the errors in its log."""

    has_details: Annotated[
        bool, Meta(description="False once log and series are deleted; the series are empty then.")
    ]
    damaged_series: Annotated[
        list[SeriesName], Meta(description="Series that can't be read from the database; they are empty.")
    ]
    memory: MemorySeries
    events: EventSeries
    input: InputSeries
    log_errors: list[LogError]


class Stream(Resource):
    """Files of one stream as arrays of equal length; the name has no host."""

    name: str
    lumisections: list[int]
    modified_at: Annotated[list[Time], Meta(description="Last change of the content.")]
    changed_at: Annotated[list[Time], Meta(description="Last change of the metadata, such as the name.")]
    delay_s: Annotated[
        list[float | None],
        Meta(description="Time from the end of the lumisection to `modified_at`; `null` without a start."),
    ]
    events_accepted: list[int | None]
    events_processed: list[int | None]
    size_bytes: list[int | None]


class Delivery(Resource):
    """File delivery of a run, by the newest report of it."""

    run: int
    machine: Annotated[str, Meta(description="Label of the machine that reported it.")]
    updated_at: Time
    started_at: Annotated[Time | None, Meta(description="Start of data taking.")]
    start_is_guess: Annotated[
        bool, Meta(description="Whether the start is computed from the first lumisection's files.")
    ]
    lumisection_s: Annotated[float, Meta(description="Length of a lumisection.")]
    streams: list[Stream]


class Link(Resource):
    """State of a part of the way from DQM² to this server."""

    last_success_at: Time | None
    failing_since: Annotated[Time | None, Meta(description="First failure since the last success.")]
    reason: Annotated[str | None, Meta(description="Reason for the last failure.")]


class MachineLink(Link):
    """State of the mirroring of a machine."""

    is_fresh: Annotated[bool, Meta(description="Whether it was mirrored within `stale_after_s`.")]
    documents_behind: Annotated[int, Meta(description="Documents that are still to be mirrored.")]
    missing: Annotated[str | None, Meta(description="Documents that the machine can't supply any more.")]


class NamedMachineLink(MachineLink):
    """State of the mirroring of a machine, with the label of the machine."""

    machine: str


class Outage(Resource):
    """A part of the way from DQM² to this server that does not work."""

    message: str
    since: Time | None
    reason: str | None
    machine: Annotated[str | None, Meta(description="The machine that is not mirrored, if it is only one.")]
    makes_jobs_stale: Annotated[
        bool, Meta(description="Whether states of jobs may be out of date because of it.")
    ]


class Freshness(Resource):
    """Age of the mirrored data of a cluster."""

    is_fresh: Annotated[bool, Meta(description="Whether there is no outage.")]
    has_stale_data: Annotated[
        bool,
        Meta(
            description="Whether runs, jobs and deliveries may be out of date: because of an outage with"
            " `makes_jobs_stale`, or because a machine is catching up, with more than"
            f" {CATCHING_UP_DOCUMENTS} documents behind."
        ),
    ]
    stale_after_s: Annotated[
        float, Meta(description="Time without success after which a part is out of order.")
    ]
    heartbeat_at: Annotated[
        Time | None, Meta(description="Last heartbeat of the grabber; the links are as of then.")
    ]
    certificate_expires_at: Annotated[
        Time | None, Meta(description="Expiry of the certificate that all links need.")
    ]
    gateway: Link | None
    cluster_status: Link | None
    machines: list[NamedMachineLink]
    outages: list[Outage]


class Transition(Resource):
    """A change of the state of a client, a machine or a part of the way from DQM² to this server."""

    id: int
    noted_at: Annotated[Time, Meta(description="Time at which the mirror recorded it.")]
    occurred_at: Annotated[Time, Meta(description="Time of it by the clock of its cause.")]
    kind: TransitionKind
    subject: Annotated[
        str | None,
        Meta(
            description="Client, signature of a crash group or label of a machine; `null` for what a cluster"
            " has one of."
        ),
    ]
    state: Annotated[str, Meta(description=f"States by kind. {_STATES}.")]
    previous_state: str | None
    is_problem: Annotated[bool, Meta(description="Whether somebody should know of the state.")]
    is_initial: Annotated[
        bool, Meta(description="Whether the mirror found the state when it began to watch, or in history.")
    ]
    run: int | None
    job: UUID | None
    machine: Annotated[str | None, Meta(description="Label of the machine concerned.")]
    crash_group: Annotated[str | None, Meta(description="Signature of the group of crashes.")]
    is_new_crash_group: Annotated[
        bool | None, Meta(description="Whether the crash was first seen in its run, or with its release.")
    ]
    detail: str | None


class TransitionPage(Resource):
    """Transitions in the order in which they were recorded; none is listed twice."""

    items: list[Transition]
    next_cursor: Annotated[
        str, Meta(description="`cursor` of those that follow, which may not have happened yet.")
    ]
    is_complete: Annotated[
        bool,
        Meta(
            description="Whether all transitions after `cursor` are still stored. False if `cursor` is older"
            f" than the {RETENTION.days} days for which they are kept, so that some before the first of"
            " `items` may be missing, or is of a database that has been replaced."
        ),
    ]


class Memory(Resource):
    """Memory of a machine."""

    total_bytes: Bytes | None
    available_bytes: Annotated[Bytes | None, Meta(description="Free memory and page cache.")]
    updated_at: Time


class Disk(Resource):
    """A disk of a machine."""

    total_bytes: Bytes | None
    used_bytes: Bytes | None
    free_bytes: Bytes | None
    files: int | None
    updated_at: Time


class UptimeInterval(Resource):
    """An interval in which a machine was up, down, or in an unknown state."""

    is_up: bool | None
    since: Annotated[Time, Meta(description="May be earlier than the requested time.")]
    until: Time
    reason: Annotated[str | None, Meta(description="Reason that the machine is down.")]


class Machine(Resource):
    """A machine of a cluster. Its state is that which DQM² reports."""

    machine: Annotated[str, Meta(description="Label of the machine, which never changes.")]
    is_up: bool | None
    state_since: Time | None
    state_checked_at: Annotated[Time | None, Meta(description="Time at which DQM² reported the state.")]
    reason: Annotated[str | None, Meta(description="Reason that the machine is down.")]
    is_mirrored: bool
    link: Annotated[MachineLink | None, Meta(description="`null` if the machine is not mirrored.")]
    memory: Memory | None
    disks: list[Disk]
    quarantined_documents: Annotated[
        int | None,
        Meta(description=f"Documents that could not be stored, at most {MAX_COUNTED} are counted."),
    ]
    uptime: Annotated[list[UptimeInterval], Meta(description="Oldest first, without gaps.")]


class Machines(Resource):
    """All machines of a cluster by label, with their uptime between two times."""

    uptime_since: Time
    uptime_until: Time
    items: list[Machine]


class CrashGroup(Resource):
    """Crashes of a client with the same signature, i.e. the same cause."""

    signature: str
    client: str
    title: str
    kind: CrashKind
    marks: Annotated[
        list[CrashMark],
        Meta(
            description="`new`: since the newest run or release. `regression`: back in the release of the"
            " last run. `always`: in nine of the client's last ten runs. `expected`: in runs without"
            " lumisections."
        ),
    ]
    since_run: Annotated[int, Meta(description="First of all runs with a crash of the group.")]
    first_run: Annotated[int, Meta(description="First run that matches.")]
    last_run: Annotated[int, Meta(description="Last run that matches.")]
    runs: Annotated[int, Meta(description="Number of runs that match.")]
    jobs: Annotated[int, Meta(description="Number of crashed jobs in these runs.")]
    cmssw_versions: Annotated[list[str], Meta(description="Releases of the newest runs, newest first.")]
    run_keys: Annotated[list[str], Meta(description="Run keys of the newest runs, newest first.")]


class CrashGroupPage(Resource):
    """Groups of crashes that match, the last to occur first."""

    items: list[CrashGroup]
    count: Annotated[int, Meta(description="Number of all groups that match.")]
    next_cursor: Cursor


class CrashedJob(Resource):
    """A job of a group of crashes."""

    id: UUID
    run: int
    run_key: str | None
    cmssw_version: str | None
    machine: str
    exit_code: int
    updated_at: Time
    lumisection: int | None
    crash: Crash | None


class CrashGroupWithJobs(CrashGroup):
    """A group of crashes with its newest jobs."""

    newest_jobs: Annotated[list[CrashedJob], Meta(description=f"At most {MAX_CRASHED_JOBS}, newest first.")]
