"""The freshness bar of every page: when each machine was last synced, what makes data old, and incidents.

While the database is down, pages show what the server last read; a browser that can't reach this server says
so itself (`static/js/connection.js`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, current_app, render_template

from dqmsquare_cfg import Cluster, Settings
from storage.read_models import MachineStatus, SyncStatus
from storage.sync_status import CERTIFICATE_WARNING_PERIOD, HEARTBEAT_INTERVAL_S, LinkStatus
from web import databases, query_args
from web.cache import dependencies
from web.pages.incidents import find_incidents
from web.pages.outages import find_outages, is_stale
from web.responses import etag_response

bp = Blueprint("freshness", __name__)

# A link is stale after the limit, not at it.
_AFTER = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class MachineFreshness:
    """A machine in the freshness bar; `link` is `None` if it is not mirrored, `down` if it is up."""

    label: str
    link: LinkStatus | None
    is_stale: bool
    down: MachineStatus | None


@bp.get("/live/freshness")
@dependencies.cached_view
def fragment() -> Response:
    """When each machine was last synced, whether it is down, and a banner per outage, and the incidents."""
    cluster = query_args.page_cluster()
    return etag_response(
        render_template("live/_freshness.html", cluster=cluster, **template_context(cluster))
    )


def age_resolution_s(settings: Settings) -> int:
    """Smallest sync age that a page can state; a younger sync may be younger still.

    A heartbeat is late by up to the pause between two polls, and a page fetches it at its own interval.
    """
    heartbeat_s = HEARTBEAT_INTERVAL_S + settings.grabber_sleep_time_info
    return math.ceil(heartbeat_s + settings.frontend_api_query_interval / 1000)


def template_context(cluster: Cluster) -> dict[str, Any]:
    """The variables of `live/_freshness.html`."""
    reader = databases.stale_ok_reader(cluster)
    sync = reader.sync_status()
    now = datetime.now(UTC)
    stale_after = timedelta(seconds=current_app.config["STALE_AFTER_S"])
    if (change := next_change(sync, now, stale_after)) is not None:
        dependencies.expire_at(change + _AFTER)
    outages = find_outages(sync, now, stale_after, databases.unavailable_since(cluster))
    down = [status for status in reader.cluster_status() if status.is_current and not status.is_up]
    return {
        "outages": outages,
        "incidents": find_incidents(reader, outages, down),
        "machines": _machines(sync, down, now - stale_after),
        "stale_after_ms": stale_after / timedelta(milliseconds=1),
        "certificate_ends_at": certificate_ends_soon(sync, now),
    }


def next_change(sync: SyncStatus | None, now: datetime, stale_after: timedelta) -> datetime | None:
    """Next time at which a link becomes stale or the certificate warning starts, if no heartbeat arrives."""
    if sync is None:
        return None
    links = [link for _, link in sync.machines]
    synced = [sync.heartbeat_at, *(link.last_success_at for link in (sync.gateway, sync.status, *links))]
    changes = [at + stale_after for at in synced if at is not None]
    if sync.certificate_expires_at is not None:
        changes.append(sync.certificate_expires_at - CERTIFICATE_WARNING_PERIOD)
    return min((at for at in changes if at >= now), default=None)


def certificate_ends_soon(sync: SyncStatus | None, now: datetime) -> datetime | None:
    """Expiry of the grid certificate if it is near or past; nothing can be mirrored without a valid one."""
    ends_at = None if sync is None else sync.certificate_expires_at
    return ends_at if ends_at is not None and ends_at - now <= CERTIFICATE_WARNING_PERIOD else None


def _machines(
    sync: SyncStatus | None, down: Iterable[MachineStatus], oldest: datetime
) -> list[MachineFreshness]:
    """The machines that are mirrored or down, by label; a sync before `oldest` is stale."""
    if sync is None:
        return []
    links = dict(sync.machines)
    by_label = {status.machine: status for status in down}
    return [
        MachineFreshness(
            label, links.get(label), label in links and is_stale(links[label], oldest), by_label.get(label)
        )
        for label in sorted({*links, *by_label})
    ]
