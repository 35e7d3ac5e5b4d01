"""The cluster page `/cluster/`: state, availability, sync status, memory and disks of every machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, render_template
from markupsafe import Markup, escape

from dqmsquare_cfg import Cluster
from storage.read_models import Machine, MachineStatus, Memory, StateChange
from storage.reader import MirrorReader
from web import databases, query_args
from web.cache import dependencies
from web.pages import formatting, freshness
from web.responses import etag_response

bp = Blueprint("cluster", __name__, url_prefix="/cluster")

AVAILABILITY_SPAN = timedelta(hours=24)
# The span moves in steps of a minute, so that the fragment stays cacheable in between.
_MINUTE = timedelta(minutes=1)
_UPTIME_NAMES = {None: "unknown", True: "up", False: "down"}


@dataclass(frozen=True, slots=True)
class UptimeInterval:
    """An interval, until a time, in which a machine was up, down or in an unknown state (`None`).

    `start_min` and `length_min` are minutes from the start of the availability span.
    """

    is_up: bool | None
    since: datetime
    until: datetime
    reason: str | None
    start_min: float
    length_min: float


@dataclass(frozen=True, slots=True)
class MachineRow:
    """A machine; `mirrored` is `None` if it is not mirrored, `status` if its state is unknown."""

    label: str
    mirrored: Machine | None
    status: MachineStatus | None
    uptime: tuple[UptimeInterval, ...]


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
def uptime_bars(uptime: Sequence[UptimeInterval]) -> Markup:
    """The intervals as bars of an SVG, a unit per minute; a machine may have hundreds."""
    return Markup("".join(map(_uptime_bar, uptime)))  # noqa: S704 - escaped


def _uptime_bar(interval: UptimeInterval) -> str:
    name = _UPTIME_NAMES[interval.is_up]
    reason = f": {escape(interval.reason)}" if interval.reason else ""
    return (
        f'<rect class="{name}" x="{interval.start_min:.1f}" width="{interval.length_min:.1f}" height="12">'
        f"<title>{name} since {formatting.both_zones(interval.since)}{reason}</title></rect>"
    )


def uptime_intervals(
    changes: Sequence[StateChange], start: datetime, end: datetime, known_until: datetime | None = None
) -> tuple[UptimeInterval, ...]:
    """The intervals between `start` and `end` that follow from a machine's state changes, oldest first.

    The state is unknown after `known_until`, if that is given.
    """
    known_end = end if known_until is None else min(max(known_until, start), end)
    seen = [change for change in changes if change.at < known_end]
    times = [*(change.at for change in seen), known_end]
    intervals = [
        UptimeInterval(
            change.is_up, change.at, until, change.reason, *_minutes(max(change.at, start), until, start)
        )
        for change, until in zip(seen, times[1:], strict=True)
        if until > start
    ]
    if times[0] > start:
        intervals.insert(0, UptimeInterval(None, start, times[0], None, *_minutes(start, times[0], start)))
    if known_end < end:
        intervals.append(UptimeInterval(None, known_end, end, None, *_minutes(known_end, end, start)))
    return tuple(intervals)


def _minutes(begin: datetime, end: datetime, start: datetime) -> tuple[float, float]:
    """Offset from `start` and length of the interval from `begin` to `end`."""
    return (begin - start) / _MINUTE, (end - begin) / _MINUTE


def _template_context(cluster: Cluster) -> dict[str, Any]:
    end = formatting.current_minute()
    dependencies.expire_at(end + _MINUTE)
    start = end - AVAILABILITY_SPAN
    reader = databases.stale_ok_reader(cluster)
    return {
        "rows": machine_rows(reader, reader.state_changes(start), start, end),
        "dropped_fields": reader.dropped_fields(),
        "span_start": start,
        "span_end": end,
        "span_min": AVAILABILITY_SPAN / _MINUTE,
        "used_memory_bytes": used_memory_bytes,
        "uptime_names": _UPTIME_NAMES,
    }


def machine_rows(
    reader: MirrorReader, changes: Sequence[StateChange], start: datetime, end: datetime
) -> list[MachineRow]:
    """The machines by label; their uptime between two times follows from `changes` of their states."""
    mirrored = {machine.label: machine for machine in reader.machines()}
    statuses = {status.machine: status for status in reader.cluster_status()}
    rows = []
    for label in sorted({*mirrored, *statuses}):
        status = statuses.get(label)
        known_until = status.checked_at if status is not None and not status.is_current else None
        of_machine = [change for change in changes if change.machine == label]
        uptime = uptime_intervals(of_machine, start, end, known_until)
        rows.append(MachineRow(label, mirrored.get(label), status, uptime))
    return rows
