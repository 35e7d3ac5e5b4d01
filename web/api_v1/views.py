"""Resources of the API; the docstrings are public."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Blueprint
from werkzeug.exceptions import NotFound

from dqm2 import crash_signatures
from dqm2.log_messages import full_text
from dqmsquare_cfg import Cluster
from storage import outages, read_models
from storage.crash_queries import CrashFilter
from storage.machine_rows import machine_rows
from storage.reader import MirrorReader
from storage.transitions import RETENTION
from web import databases
from web.api_v1 import mapping, resources, run_finder
from web.api_v1.operations import operation
from web.api_v1.queries import (
    DEFAULT_UPTIME,
    MAX_UPTIME,
    CrashGroupsQuery,
    JobsQuery,
    MachinesQuery,
    RunsQuery,
    TransitionsQuery,
    optional,
    optional_time,
)
from web.cache import dependencies
from web.errors import DELIVERY_DAMAGED, LOG_DAMAGED, LOG_DELETED, DatabaseUnavailable
from web.staleness import expire_at_next_change, stale_limit

bp = Blueprint("api_v1", __name__)

_NO_RUN = "The mirror does not have this run."
_NO_JOB = "The mirror does not have this job."
_NO_DELIVERY = "The mirror has no file delivery of this run."
_NO_CRASH_GROUP = "The cluster has no crash with this signature."
_MINUTE = timedelta(minutes=1)


@operation(bp, "/clusters")
def clusters() -> resources.Clusters:
    """The clusters and the span of their runs."""
    return resources.Clusters(items=[_cluster(cluster) for cluster in sorted(Cluster)])


@operation(bp, "/clusters/<cluster>/freshness")
def freshness(cluster: Cluster) -> resources.Freshness:
    """Age of the data of a cluster, and what does not work.

    A machine that has nothing new to report is fresh as long as the grabber reaches it.
    """
    reader = databases.cached_reader(cluster)
    sync = reader.cluster.sync_status()
    now, stale_after = datetime.now(UTC), stale_limit()
    expire_at_next_change(sync, now, stale_after)
    down = [status for status in reader.cluster.machine_statuses() if status.is_down]
    found = outages.with_causes(outages.find_outages(sync, now, stale_after), down)
    return mapping.freshness(sync, found, now - stale_after, stale_after.total_seconds())


@operation(bp, "/clusters/<cluster>/runs", is_slow=run_finder.searches_for_state)
def runs(cluster: Cluster, query: RunsQuery) -> resources.RunPage:
    """Runs that match a filter, newest first."""
    reader = databases.cached_reader(cluster)
    found, next_cursor = run_finder.find_runs(reader, query)
    return resources.RunPage(
        items=[mapping.run_summary(run) for run in found],
        next_cursor=None if next_cursor is None else str(next_cursor),
    )


@operation(bp, "/clusters/<cluster>/runs/<run:run>")
def run(cluster: Cluster, run: int) -> resources.Run:
    """A run and its neighbours."""
    reader = databases.cached_reader(cluster)
    return mapping.run_with_neighbours(_run(reader, run), reader.runs.adjacent(run))


@operation(bp, "/clusters/<cluster>/runs/<run:run>/jobs")
def jobs(cluster: Cluster, run: int, query: JobsQuery) -> resources.Jobs:
    """Jobs of a run, by client, then by start."""
    found = _run(databases.cached_reader(cluster), run).jobs
    client, state = optional(query.client), optional(query.state)
    return resources.Jobs(
        items=[mapping.job(job) for job in found if client in (None, job.name) and state in (None, job.state)]
    )


@operation(bp, "/clusters/<cluster>/runs/<run:run>/delivery")
def delivery(cluster: Cluster, run: int) -> resources.Delivery:
    """File delivery of a run, stream by stream.

    If several machines report it, it is that of the newest report.
    """
    found = databases.cached_reader(cluster).deliveries.get(run)
    if found is None:
        raise NotFound(_NO_DELIVERY)
    if found.is_damaged:
        raise NotFound(DELIVERY_DAMAGED)
    return mapping.delivery(found)


@operation(bp, "/clusters/<cluster>/jobs/<uuid:job>")
def job(cluster: Cluster, job: UUID) -> resources.JobWithSeries:
    """A job with its series and the errors in its log."""
    details = databases.cached_reader(cluster).jobs.details(job)
    if details is None:
        raise NotFound(_NO_JOB)
    return mapping.job_with_series(details)


@operation(bp, "/clusters/<cluster>/jobs/<uuid:job>/log")
def log(cluster: Cluster, job: UUID) -> str:
    """Log of a job after redaction, as plain text.

    DQM² keeps the beginning and the end of a log; a line in brackets marks where others are left out. Lines
    count from 1, as in `log_line`.
    """
    details = databases.cached_reader(cluster).jobs.details(job)
    if details is None:
        raise NotFound(_NO_JOB)
    if not details.has_log:
        raise NotFound(LOG_DAMAGED if details.is_log_damaged else LOG_DELETED)
    return full_text(details.log)


@operation(bp, "/clusters/<cluster>/machines")
def machines(cluster: Cluster, query: MachinesQuery) -> resources.Machines:
    """Machines with their state, resources and uptime.

    Uptime is never listed for the future.
    """
    reader = databases.cached_reader(cluster)
    now, stale_after = datetime.now(UTC), stale_limit()
    expire_at_next_change(reader.cluster.sync_status(), now, stale_after)
    since, until = _uptime_span(query, now)
    rows = machine_rows(reader.cluster, reader.cluster.state_changes(since, until), since, until)
    return resources.Machines(
        uptime_since=since,
        uptime_until=until,
        items=[mapping.machine(row, now - stale_after) for row in rows],
    )


@operation(bp, "/clusters/<cluster>/crash-groups")
def crash_groups(cluster: Cluster, query: CrashGroupsQuery) -> resources.CrashGroupPage:
    """Groups of crashes that match a filter, the last to occur first.

    A group that occurs again meanwhile moves to the first page, so that another may be listed twice.
    """
    reader = databases.cached_reader(cluster)
    kind, skip = optional(query.kind), int(optional(query.position) or 0)
    crash_filter = CrashFilter(run_finder.run_filter(reader, query), None if kind is None else (kind,))
    found = reader.crashes.find_groups(crash_filter, skip=skip, limit=query.limit)
    end = skip + len(found.groups)
    return resources.CrashGroupPage(
        items=[mapping.crash_group(group) for group in found.groups],
        count=found.count,
        next_cursor=str(end) if found.groups and end < found.count else None,
    )


@operation(bp, "/clusters/<cluster>/crash-groups/<signature>")
def crash_group(cluster: Cluster, signature: str) -> resources.CrashGroupWithJobs:
    """A group of crashes with its newest jobs."""
    reader = databases.cached_reader(cluster)
    found = reader.crashes.group(signature) if crash_signatures.SIGNATURE.fullmatch(signature) else None
    if found is None or not found.groups:
        raise NotFound(_NO_CRASH_GROUP)
    return mapping.crash_group_with_jobs(
        found.groups[0], reader.crashes.jobs(signature, resources.MAX_CRASHED_JOBS)
    )


@operation(bp, "/clusters/<cluster>/transitions")
def transitions(cluster: Cluster, query: TransitionsQuery) -> resources.TransitionPage:
    """Changes of states, in the order in which the mirror recorded them, for scripts that follow a cluster.

    Without `cursor` there are none: `next_cursor` is that of what happens from now on.
    """
    reader = databases.cached_reader(cluster)
    cursor = optional(query.position)
    if cursor is None:
        newest = reader.transitions.newest_id()
        return resources.TransitionPage(items=[], next_cursor=str(newest), is_complete=True)
    found = reader.transitions.after(int(cursor), query.limit)
    if not found and (newest := databases.uncached_reader(cluster).transitions.newest_id()) < int(cursor):
        # The database was replaced by another: its transitions are counted from 1.
        return resources.TransitionPage(items=[], next_cursor=str(newest), is_complete=False)
    # Of the old transitions, the newest is kept: it follows the cursor if others that did may be missing.
    complete_until = found[0].noted_at + RETENTION if found else None
    if complete_until is not None:
        dependencies.expire_at(complete_until)
    return resources.TransitionPage(
        items=[mapping.transition(recorded) for recorded in found],
        next_cursor=str(found[-1].id) if found else cursor,
        is_complete=complete_until is None or datetime.now(UTC) < complete_until,
    )


def _cluster(cluster: Cluster) -> resources.ClusterSummary:
    try:
        span = databases.cached_reader(cluster).runs.span()
    except DatabaseUnavailable:
        dependencies.expire_soon()
        return resources.ClusterSummary(name=cluster, is_available=False, oldest_run=None, newest_run=None)
    return resources.ClusterSummary(
        name=cluster, is_available=True, oldest_run=span.lowest, newest_run=span.highest
    )


def _run(reader: MirrorReader, number: int) -> read_models.Run:
    """A run. Raises NotFound."""
    found = reader.runs.get(number)
    if found is None:
        raise NotFound(_NO_RUN)
    return found


def _uptime_span(query: MachinesQuery, now: datetime) -> tuple[datetime, datetime]:
    """The times between which uptime is listed."""
    latest = now.replace(second=0, microsecond=0)
    until = optional_time(query.until)
    if until is None or until > now:
        until = latest
        dependencies.expire_at(latest + _MINUTE)
    since = optional_time(query.since) or until - DEFAULT_UPTIME
    return min(max(since, until - MAX_UPTIME), until), until
