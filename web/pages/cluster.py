"""The cluster page `/cluster/`: every machine, whether it is up, how it is mirrored, what room it has."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, render_template

from dqmsquare_cfg import Cluster
from storage.read_models import Machine, MachineStatus, Memory, StateChange
from storage.reader import MirrorReader
from web import databases, query_args
from web.cache import dependencies
from web.pages import freshness
from web.responses import etag_response

room = Blueprint("cluster", __name__, url_prefix="/cluster")

HISTORY = timedelta(hours=24)
# The history moves on by steps, so that the part stays the same in between.
_STEP = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Spell:
    """A time in which a machine was up, down or (`None`) not known; in minutes of the history."""

    is_up: bool | None
    since: datetime
    reason: str | None
    start_min: float
    length_min: float


@dataclass(frozen=True, slots=True)
class Row:
    """A machine as the page shows it; `mirrored` or `status` is `None` where nothing is known."""

    label: str
    mirrored: Machine | None
    status: MachineStatus | None
    spells: tuple[Spell, ...]


@room.get("/")
@dependencies.cached_view
def page() -> Response:
    """The page, whole."""
    cluster = query_args.shown_cluster()
    shown = {**_machines(cluster), **freshness.of_cluster(cluster)}
    return etag_response(render_template("cluster/page.html", cluster=cluster, **shown))


@room.get("/part")
@dependencies.cached_view
def part() -> Response:
    """The machines, kept up to date."""
    cluster = query_args.shown_cluster()
    return etag_response(render_template("cluster/_machines.html", cluster=cluster, **_machines(cluster)))


def used_of_memory(memory: Memory) -> int | None:
    """What is in use in bytes, by what is available: the page cache is given back when it is needed."""
    if memory.total_bytes is None or memory.available_bytes is None:
        return None
    return max(0, memory.total_bytes - memory.available_bytes)


def spells(changes: Sequence[StateChange], start: datetime, end: datetime) -> tuple[Spell, ...]:
    """What a machine's changes, oldest first, say of the time from `start` to `end`."""
    within = [change for change in changes if change.at < end]
    times = [*(change.at for change in within), end]
    found = [
        Spell(change.is_up, change.at, change.reason, *_minutes(max(change.at, start), until, start))
        for change, until in zip(within, times[1:], strict=True)
        if until > start
    ]
    if times[0] > start:
        found.insert(0, Spell(None, start, None, *_minutes(start, times[0], start)))
    return tuple(found)


def _minutes(begins: datetime, ends: datetime, start: datetime) -> tuple[float, float]:
    """When something begins, counted from `start`, and how long it lasts."""
    minute = timedelta(minutes=1)
    return (begins - start) / minute, (ends - begins) / minute


def _machines(cluster: Cluster) -> dict[str, Any]:
    end = _last_step(datetime.now(UTC))
    dependencies.expire_at(end + _STEP)
    rows = _rows(databases.stale_ok_reader(cluster), end - HISTORY, end)
    return {
        "rows": rows,
        "history_start": end - HISTORY,
        "history_end": end,
        "history_min": HISTORY / timedelta(minutes=1),
        "used_of_memory": used_of_memory,
    }


def _rows(reader: MirrorReader, start: datetime, end: datetime) -> list[Row]:
    mirrored = {machine.label: machine for machine in reader.machines()}
    statuses = {status.machine: status for status in reader.cluster_status()}
    changes = reader.state_changes(start)
    return [
        Row(
            label=label,
            mirrored=mirrored.get(label),
            status=statuses.get(label),
            spells=spells([change for change in changes if change.machine == label], start, end),
        )
        for label in sorted(_labels(mirrored, statuses))
    ]


def _labels(*known: Iterable[str]) -> set[str]:
    return set().union(*known)


def _last_step(now: datetime) -> datetime:
    return datetime.fromtimestamp(now.timestamp() // _STEP.total_seconds() * _STEP.total_seconds(), UTC)
