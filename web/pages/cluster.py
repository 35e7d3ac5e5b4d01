"""The cluster page `/cluster/`: state, availability, sync status, memory and disks of every machine."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, render_template
from markupsafe import Markup, escape

from dqmsquare_cfg import Cluster
from storage.machine_rows import UptimeInterval, machine_rows
from storage.read_models import Memory
from web import databases, query_args
from web.cache import dependencies
from web.pages import formatting, freshness
from web.responses import etag_response

bp = Blueprint("cluster", __name__, url_prefix="/cluster")

AVAILABILITY_SPAN = timedelta(hours=24)
# The span moves in steps of a minute, so that the fragment stays cacheable in between.
_MINUTE = timedelta(minutes=1)
_UPTIME_NAMES = {None: "unknown", True: "up", False: "down"}


@bp.get("/")
@dependencies.cached_view
def page() -> Response:
    """The complete page."""
    cluster = query_args.page_cluster()
    context = {**_template_context(cluster), **freshness.template_context(cluster)}
    return etag_response(render_template("cluster/page.html", cluster=cluster, **context))


@bp.get("/fragment")
@dependencies.cached_view
def fragment() -> Response:
    """The machines, which the page keeps up to date."""
    cluster = query_args.page_cluster()
    return etag_response(
        render_template("cluster/_machines.html", cluster=cluster, **_template_context(cluster))
    )


def used_memory_bytes(memory: Memory) -> int | None:
    """Memory in use, computed from what is available: the page cache counts as free."""
    if memory.total_bytes is None or memory.available_bytes is None:
        return None
    return max(0, memory.total_bytes - memory.available_bytes)


@bp.app_template_filter()
def uptime_bars(uptime: Sequence[UptimeInterval], start: datetime) -> Markup:
    """The intervals from `start` as bars of an SVG, a unit per minute; a machine may have hundreds."""
    return Markup("".join(_uptime_bar(interval, start) for interval in uptime))  # noqa: S704 - escaped


def _uptime_bar(interval: UptimeInterval, start: datetime) -> str:
    name = _UPTIME_NAMES[interval.is_up]
    reason = f": {escape(interval.reason)}" if interval.reason else ""
    shown_since = max(interval.since, start)
    start_min, length_min = (shown_since - start) / _MINUTE, (interval.until - shown_since) / _MINUTE
    return (
        f'<rect class="{name}" x="{start_min:.1f}" width="{length_min:.1f}" height="12">'
        f"<title>{name} since {formatting.both_zones(interval.since)}{reason}</title></rect>"
    )


def _template_context(cluster: Cluster) -> dict[str, Any]:
    end = formatting.current_minute()
    dependencies.expire_at(end + _MINUTE)
    start = end - AVAILABILITY_SPAN
    reader = databases.stale_ok_reader(cluster)
    return {
        "rows": machine_rows(reader.cluster, reader.cluster.state_changes(start), start, end),
        "dropped_fields": reader.cluster.dropped_fields(),
        "span_start": start,
        "span_end": end,
        "span_min": AVAILABILITY_SPAN / _MINUTE,
        "used_memory_bytes": used_memory_bytes,
        "uptime_names": _UPTIME_NAMES,
    }
