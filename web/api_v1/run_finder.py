"""Search for runs by the filters of queries.

SQL does not compute the states of runs and jobs. So a search for a state reads the runs that may match, piece
by piece.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec import UNSET

from storage import job_state, read_models
from storage.job_state import JobState
from storage.reader import MirrorReader
from storage.run_queries import RunFilter
from web.api_v1 import mapping
from web.api_v1.queries import RunFilterQuery, RunsQuery, RunState, optional, optional_time
from web.query_args import INT_MAX

_RELEASE_PREFIX = "CMSSW_"
# Runs read at a time, and pieces of them that one request searches for a state.
_RUNS_PER_PIECE = 25
_MAX_PIECES = 20


def searches_for_state(query: Mapping[str, str]) -> bool:
    """Whether the parameters of a request name a state, which takes longer."""
    return "state" in query or "job_state" in query


def find_runs(reader: MirrorReader, query: RunsQuery) -> tuple[list[read_models.Run], int | None]:
    """A page of runs and the run below which the next one begins.

    Runs are searched for a state within bounds, so that a page may be shorter than asked for.
    """
    selection = _sql_filter(reader, query)
    cursor = optional(query.position)
    below = None if cursor is None else min(int(cursor), INT_MAX)
    found: list[read_models.Run] = []
    for _ in range(_MAX_PIECES):
        missing = query.limit + 1 - len(found)
        size = _RUNS_PER_PIECE if _is_searched(query) else min(missing, _RUNS_PER_PIECE)
        piece = reader.runs.find(selection, below=below, limit=size)
        found += [run for run in piece if _matches(run, query)]
        if len(found) > query.limit:
            return found[: query.limit], found[query.limit - 1].run
        if len(piece) < size:
            return found, None
        below = piece[-1].run
    return found, below


def run_filter(
    reader: MirrorReader,
    query: RunFilterQuery,
    *,
    crashed_only: bool = False,
    reported_since: datetime | None = None,
) -> RunFilter:
    """The filter that a query describes.

    `reported_since`: runs of which no job has reported since then may be left out.
    """
    since, until = optional_time(query.since), optional_time(query.until)
    first, last = query.first_run, query.last_run
    # Times narrow the range of runs, so that fewer are searched.
    for span_since, span_until in ((since, until), (reported_since, None)):
        if span_since is not None or span_until is not None:
            span = reader.runs.span_between(span_since, span_until)
            first, last = max(first, span.lowest or 0), min(last, span.highest or 0)
    release = optional(query.cmssw_version)
    return RunFilter(
        first=first,
        last=last,
        crashed_only=crashed_only,
        run_keys=_single(optional(query.run_key)),
        cmssw_versions=_single(None if release is None else release.removeprefix(_RELEASE_PREFIX)),
        clients=_single(optional(query.client)),
        since=since,
        until=until,
    )


def _single(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else (value,)


def _sql_filter(reader: MirrorReader, query: RunsQuery) -> RunFilter:
    """The part of a query that SQL can answer; it may select more runs than match."""
    is_of_active = query.state is RunState.ONGOING or query.job_state in (JobState.RUNNING, JobState.STUCK)
    # In steps of an hour, so that reads can be cached in between.
    full_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return run_filter(
        reader,
        query,
        crashed_only=query.job_state is JobState.CRASHED,
        reported_since=full_hour - job_state.LOST_AFTER if is_of_active else None,
    )


def _is_searched(query: RunsQuery) -> bool:
    return query.state is not UNSET or query.job_state not in (UNSET, JobState.CRASHED)


def _matches(run: read_models.Run, query: RunsQuery) -> bool:
    """Whether a run has the state, and a job in the state, that a query names."""
    if query.state is not UNSET and mapping.run_state(run) is not query.state:
        return False
    return query.job_state is UNSET or any(_is_of_query(job, query) for job in run.jobs)


def _is_of_query(job: read_models.Job, query: RunsQuery) -> bool:
    since, until = optional_time(query.since), optional_time(query.until)
    return (
        job.state is query.job_state
        and query.client in (UNSET, job.name)
        and (since is None or job.updated_at >= since)
        and (until is None or job.first_seen_at < until)
    )
