"""Resources made from the results of the readers."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import asdict

from dqm2 import records
from dqm2.field_parsers import BYTES_PER_KB
from dqm2.records import CrashReason, ErrorGroup
from storage import crash_reader, job_state, outages, read_models
from storage.client_names import client_name
from storage.delivery_statistics import delays_s
from storage.machine_rows import MachineRow
from storage.read_models import AdjacentRuns, JobDetails, SyncStatus
from storage.sync_status import LinkStatus
from storage.transitions import RecordedTransition, TransitionKind
from web.api_v1 import resources
from web.api_v1.queries import RunState

_UNREADABLE = -1
_EPOCH = datetime.fromtimestamp(0, UTC)


def run_summary(run: read_models.Run) -> resources.RunSummary:
    """A run as lists show it."""
    return resources.RunSummary(
        run=run.run,
        state=run_state(run),
        run_key=run.run_key,
        cmssw_version=run.cmssw_version,
        cmssw_run=run.cmssw_run,
        started_at=run.started_at,
        updated_at=run.updated_at,
        lumisection=run.lumisection,
        jobs_by_state=job_state.count_by_state(job.state for job in run.jobs),
    )


def run_state(run: read_models.Run) -> RunState:
    """State of a run."""
    return RunState.ONGOING if run.is_ongoing else RunState.ENDED


def run_with_neighbours(run: read_models.Run, adjacent: AdjacentRuns) -> resources.Run:
    """A run with the runs before and after it."""
    return resources.Run(**asdict(run_summary(run)), previous_run=adjacent.previous, next_run=adjacent.next)


def job(found: read_models.Job) -> resources.Job:
    """A job as lists show it."""
    return resources.Job(
        id=found.id,
        run=found.run,
        client=found.name,
        machine=found.machine,
        state=found.state,
        exit_code=found.exit_code,
        started_at=found.started_at,
        updated_at=found.updated_at,
        cmssw_run=found.cmssw_run,
        lumisection=found.lumisection,
        lumisections_behind=found.lag,
        lumisections_skipped=found.lumisections_skipped,
        events_total=found.events_total,
        events_per_s=found.events_rate,
        fi_state=found.fi_state,
        rss_bytes=None if found.rss_kb is None else found.rss_kb * BYTES_PER_KB,
        crash=_crash(found.crash),
        crash_group=found.crash_group,
    )


def job_with_series(details: JobDetails) -> resources.JobWithSeries:
    """A job with its series."""
    series = details.series
    memory, events, statuses = series.memory, series.events, series.input_statuses
    return resources.JobWithSeries(
        **asdict(job(details.job)),
        has_details=details.is_retained,
        damaged_series=list(series.damaged),
        memory=resources.MemorySeries(
            times=_times(memory.at_s),
            size_bytes=[kb * BYTES_PER_KB for kb in memory.size_kb],
            rss_bytes=[kb * BYTES_PER_KB for kb in memory.rss_kb],
        ),
        events=resources.EventSeries(
            lumisections=list(events.lumisections),
            times=_times(events.at_s),
            events=list(events.events),
            duration_s=[ms / 1000 for ms in events.duration_ms],
        ),
        input=resources.InputSeries(
            lumisections=list(statuses.lumisections), statuses=list(statuses.statuses)
        ),
        log_errors=[_log_error(error) for error in details.errors],
    )


def delivery(found: read_models.Delivery) -> resources.Delivery:
    """The file delivery of a run."""
    return resources.Delivery(
        run=found.run,
        machine=found.machine,
        updated_at=found.updated_at,
        started_at=found.global_start,
        start_is_guess=found.global_start_is_guess,
        lumisection_s=found.lumisection_s,
        streams=[_stream(found, stream) for stream in found.streams],
    )


def freshness(
    sync: SyncStatus | None, found: Sequence[outages.Outage], oldest: datetime, stale_after_s: float
) -> resources.Freshness:
    """The freshness of a cluster; a machine that was mirrored before `oldest` is not fresh."""
    shown = [
        resources.Outage(
            message=outage.message,
            since=outage.since,
            reason=outage.reason,
            machine=outage.machine,
            makes_jobs_stale=outage.makes_jobs_stale,
        )
        for outage in found
    ]
    links = () if sync is None else sync.machines
    return resources.Freshness(
        is_fresh=not shown,
        has_stale_data=any(outage.makes_jobs_stale for outage in found)
        or bool(outages.find_catching_up(sync, found)),
        stale_after_s=stale_after_s,
        heartbeat_at=None if sync is None else sync.heartbeat_at,
        certificate_expires_at=None if sync is None else sync.certificate_expires_at,
        gateway=None if sync is None else _link(sync.gateway),
        cluster_status=None if sync is None else _link(sync.status),
        machines=[_named_link(*of_machine, oldest) for of_machine in links],
        outages=shown,
    )


def machine(row: MachineRow, oldest: datetime) -> resources.Machine:
    """A machine; one that was mirrored before `oldest` is not fresh."""
    mirrored, status = row.mirrored, row.status
    quarantine = None if mirrored is None else mirrored.quarantine
    return resources.Machine(
        machine=row.label,
        is_up=None if status is None else status.is_up,
        state_since=None if status is None else status.since,
        state_checked_at=None if status is None else status.checked_at,
        reason=None if status is None else status.reason,
        is_mirrored=mirrored is not None,
        link=None if mirrored is None else _machine_link(mirrored.link, oldest),
        memory=None if mirrored is None else _memory(mirrored.memory),
        disks=[] if mirrored is None else [_disk(disk) for disk in mirrored.disks],
        quarantined_documents=None if mirrored is None else 0 if quarantine is None else quarantine.count,
        uptime=[
            resources.UptimeInterval(
                is_up=interval.is_up, since=interval.since, until=interval.until, reason=interval.reason
            )
            for interval in row.uptime
        ],
    )


def crash_group(summary: crash_reader.CrashGroupSummary) -> resources.CrashGroup:
    """A group of crashes as lists show it."""
    return resources.CrashGroup(
        signature=summary.group.signature,
        client=client_name(summary.group.client),
        title=summary.group.title,
        kind=summary.group.kind,
        marks=list(summary.marks),
        since_run=summary.since,
        first_run=summary.first_run,
        last_run=summary.last_run,
        runs=summary.runs,
        jobs=summary.jobs,
        cmssw_versions=list(summary.releases),
        run_keys=list(summary.run_keys),
    )


def crash_group_with_jobs(
    summary: crash_reader.CrashGroupSummary, jobs: Iterable[crash_reader.CrashedJob]
) -> resources.CrashGroupWithJobs:
    """A group of crashes with its newest jobs."""
    return resources.CrashGroupWithJobs(
        **asdict(crash_group(summary)),
        newest_jobs=[
            resources.CrashedJob(
                id=one.id,
                run=one.run,
                run_key=one.run_key,
                cmssw_version=one.cmssw_version,
                machine=one.machine,
                exit_code=one.exit_code,
                updated_at=one.updated_at,
                lumisection=one.lumisection,
                crash=_crash(one.crash),
            )
            for one in jobs
        ],
    )


def transition(recorded: RecordedTransition) -> resources.Transition:
    """A transition."""
    found = recorded.transition
    subject = found.thing.subject or None
    if subject is not None and found.thing.kind is TransitionKind.CLIENT:
        subject = client_name(subject)
    return resources.Transition(
        id=recorded.id,
        noted_at=recorded.noted_at,
        occurred_at=found.occurred_at,
        kind=found.thing.kind,
        subject=subject,
        state=found.state,
        previous_state=found.previous_state,
        is_problem=found.is_problem,
        is_initial=found.is_initial,
        run=found.run,
        job=found.job,
        machine=found.machine,
        crash_group=found.crash_group,
        is_new_crash_group=found.is_new_group,
        detail=found.detail,
    )


def _crash(reason: CrashReason | None) -> resources.Crash | None:
    if reason is None:
        return None
    return resources.Crash(
        kind=reason.kind,
        category=reason.category or None,
        message=reason.message or None,
        module_type=reason.module_type or None,
        module_label=reason.module_label or None,
        frames=[
            resources.StackFrame(function=frame.function or None, library=frame.library or None)
            for frame in reason.frames
        ],
        log_line=reason.line,
    )


def _log_error(error: ErrorGroup) -> resources.LogError:
    return resources.LogError(
        category=error.category, module=error.module or None, count=error.count, log_line=error.line
    )


def _stream(of_run: read_models.Delivery, stream: records.Stream) -> resources.Stream:
    return resources.Stream(
        name=stream.name,
        lumisections=list(stream.lumisections),
        modified_at=_times_ms(stream.mtimes_ms),
        changed_at=_times_ms(stream.ctimes_ms),
        delay_s=[
            None if delay_s is None else round(delay_s, 3)
            for delay_s in delays_s(of_run, stream.lumisections, stream.mtimes_ms)
        ],
        events_accepted=_readable(stream.events_accepted),
        events_processed=_readable(stream.events_processed),
        size_bytes=_readable(stream.sizes_bytes),
    )


def _readable(values: Iterable[int]) -> list[int | None]:
    return [None if value == _UNREADABLE else value for value in values]


def _link(link: LinkStatus) -> resources.Link:
    return resources.Link(
        last_success_at=link.last_success_at, failing_since=link.failing_since, reason=link.reason
    )


def _machine_link(link: LinkStatus, oldest: datetime) -> resources.MachineLink:
    return resources.MachineLink(
        last_success_at=link.last_success_at,
        failing_since=link.failing_since,
        reason=link.reason,
        is_fresh=not outages.is_stale(link, oldest),
        documents_behind=link.documents_behind,
        missing=link.missing,
    )


def _named_link(label: str, link: LinkStatus, oldest: datetime) -> resources.NamedMachineLink:
    return resources.NamedMachineLink(**asdict(_machine_link(link, oldest)), machine=label)


def _memory(memory: read_models.Memory | None) -> resources.Memory | None:
    if memory is None:
        return None
    return resources.Memory(
        total_bytes=memory.total_bytes,
        available_bytes=memory.available_bytes,
        updated_at=memory.updated_at,
    )


def _disk(disk: read_models.Disk) -> resources.Disk:
    return resources.Disk(
        total_bytes=disk.total_bytes,
        used_bytes=disk.used_bytes,
        free_bytes=disk.free_bytes,
        files=disk.files,
        updated_at=disk.updated_at,
    )


def _times(unix_s: Iterable[int]) -> list[datetime]:
    return [datetime.fromtimestamp(at_s, UTC) for at_s in unix_s]


def _times_ms(unix_ms: Iterable[int]) -> list[datetime]:
    return [_EPOCH + timedelta(milliseconds=at_ms) for at_ms in unix_ms]
