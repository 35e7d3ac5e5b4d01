"""How fresh a cluster's mirror is: the part that every page has at its top."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, current_app, render_template

from dqmsquare_cfg import Cluster, Settings
from storage.read_models import MachineStatus, SyncStatus
from storage.sync_status import HEARTBEAT_INTERVAL_S, LinkStatus
from web import databases, query_args
from web.cache import dependencies
from web.pages import staleness
from web.pages.staleness import broken_links, certificate_ends_soon, is_old
from web.responses import etag_response

room = Blueprint("freshness", __name__)


# What is silent for so long is old, and not a moment before.
_AFTER = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class MachineInBar:
    """A machine as the bar tells of it: how it is mirrored, if it is, and since when it is down, if it is."""

    label: str
    link: LinkStatus | None
    is_old: bool
    down: MachineStatus | None


@room.get("/live/freshness")
@dependencies.cached_view
def part() -> Response:
    """When each machine was last mirrored, whether it is down, and a banner for each link that is broken."""
    cluster = query_args.shown_cluster()
    return etag_response(render_template("live/_freshness.html", cluster=cluster, **of_cluster(cluster)))


def told_within_s(settings: Settings) -> int:
    """Within how long a page is told that a machine was mirrored; younger than that, it may be younger still.

    A heartbeat comes up to a pause between two polls late, and a page asks for it now and then.
    """
    heartbeat_s = HEARTBEAT_INTERVAL_S + settings.grabber_sleep_time_info
    return math.ceil(heartbeat_s + settings.frontend_api_query_interval / 1000)


def of_cluster(cluster: Cluster) -> dict[str, Any]:
    """What the part's template shows."""
    reader = databases.stale_ok_reader(cluster)
    freshness = reader.sync_status()
    now = datetime.now(UTC)
    warn_after = timedelta(seconds=current_app.config["STALE_AFTER_S"])
    if holds_until := staleness.holds_until(freshness, now, warn_after):
        dependencies.expire_at(holds_until + _AFTER)
    away_since = databases.unavailable_since(cluster)
    return {
        "freshness": freshness,
        "broken": broken_links(freshness, now, warn_after, away_since),
        "machines": _machines(freshness, reader.cluster_status(), now - warn_after),
        "certificate_ends_at": certificate_ends_soon(freshness, now),
    }


def _machines(
    freshness: SyncStatus | None, statuses: Iterable[MachineStatus], oldest: datetime
) -> list[MachineInBar]:
    """The machines that are mirrored, and those that are down, by label; what is before `oldest` is old."""
    links = {} if freshness is None else dict(freshness.machines)
    down = {status.machine: status for status in statuses if not status.is_up}
    return [
        MachineInBar(
            label, links.get(label), label in links and is_old(links[label], oldest), down.get(label)
        )
        for label in sorted({*links, *down})
    ]
