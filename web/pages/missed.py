"""A summary of what happened while a page did not run, such as on a computer that slept."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from flask import Blueprint, Response, jsonify
from werkzeug.exceptions import BadRequest

from dqmsquare_cfg import Cluster
from storage.job_state import JobState
from storage.mutes import mute_of_job
from storage.reader import MirrorReader
from storage.run_queries import RunFilter
from web import databases, query_args
from web.pages.formatting import counted

bp = Blueprint("missed", __name__)

# The end of the year 9999.
_MAX_UNIX_MS = 253_402_300_799_999
# Of a longer time, all states of machines ever recorded might be read.
_MAX_PERIOD = timedelta(days=7)
# More than a night has; older runs are not summarized.
_MAX_RUNS = 50
# Crashed clients, or machines, that are named.
_MAX_NAMES = 5


@bp.get("/live/missed")
def summary() -> Response:
    """The summary since the unix time `since` (ms) as JSON; its `text` is empty if nothing happened.

    That of a longer time is of the last days, and says so.
    """
    cluster, asked_since = query_args.page_cluster(), _parse_since()
    since = max(asked_since, datetime.now(UTC) - _MAX_PERIOD)
    parts = (_runs_and_crashes(databases.stale_ok_reader(cluster), since), _machines(cluster, since))
    text = "; ".join(part for part in parts if part)
    if since > asked_since:
        text = f"{text or 'nothing'} (in the last {_MAX_PERIOD.days} days)"
    return jsonify(text=text)


def _parse_since() -> datetime:
    unix_ms = query_args.parse_integer(query_args.text("since") or "", 0, _MAX_UNIX_MS)
    if unix_ms is None:
        raise BadRequest("since must be a unix time in milliseconds")
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


def _runs_and_crashes(reader: MirrorReader, since: datetime) -> str:
    newest = reader.runs.span().highest
    if newest is None:
        return ""
    runs = reader.runs.find(RunFilter(query_args.INT_MIN, newest), below=None, limit=_MAX_RUNS)
    mutes = reader.mutes.in_force()
    crashed = Counter(
        job.name
        for run in runs
        for job in run.jobs
        if job.state is JobState.CRASHED and job.updated_at > since and mute_of_job(job, mutes) is None
    )
    started = sum(run.started_at is not None and run.started_at > since for run in runs)
    parts = [counted(started, "new run")] if started else []
    if crashed:
        crashes = counted(crashed.total(), "crash", "crashes")
        clients = [name if times == 1 else f"{name} ×{times}" for name, times in crashed.items()]
        parts.append(f"{crashes} ({_names(clients)})")
    return ", ".join(parts)


def _machines(cluster: Cluster, since: datetime) -> str:
    # The cache has the changes since one time only, that of the cluster page.
    changes = databases.uncached_reader(cluster).cluster.state_changes(since)
    down = {change.machine for change in changes if not change.is_up and change.at > since}
    return f"{_names(sorted(down))} {'was' if len(down) == 1 else 'were'} down" if down else ""


def _names(names: list[str]) -> str:
    shown = names[:_MAX_NAMES]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
