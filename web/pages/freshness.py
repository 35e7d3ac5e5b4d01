"""The freshness bar of every page: when each machine was last synced, and why data are out of date.

Data pass from DQM²'s machines through the gateway, the grabber and the database to this server. An outage of
any of these makes what is shown old. While the database is down, pages show what the server last read; a
browser that can't reach this server says so itself (`static/js/connection.js`).
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, current_app, render_template

from dqmsquare_cfg import Cluster, Settings
from storage.read_models import MachineStatus, SyncStatus
from storage.sync_status import CERTIFICATE_WARNING_PERIOD, HEARTBEAT_INTERVAL_S, LinkStatus
from web import databases, query_args
from web.cache import dependencies
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


@dataclass(frozen=True, slots=True)
class Outage:
    """A part of the data path that fails; `since` is `None` if it never worked.

    `makes_jobs_stale`: the state of jobs is not up to date because of it.
    """

    message: str
    since: datetime | None
    reason: str | None = None
    makes_jobs_stale: bool = True


@bp.get("/live/freshness")
@dependencies.cached_view
def fragment() -> Response:
    """When each machine was last synced, whether it is down, and a banner per outage."""
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
    return {
        "outages": find_outages(sync, now, stale_after, databases.unavailable_since(cluster)),
        "machines": _machines(sync, reader.cluster_status(), now - stale_after),
        "stale_after_ms": stale_after / timedelta(milliseconds=1),
        "certificate_ends_at": certificate_ends_soon(sync, now),
    }


def find_outages(
    sync: SyncStatus | None,
    now: datetime,
    stale_after: timedelta,
    database_down_since: datetime | None = None,
) -> list[Outage]:
    """The parts of the data path that have not worked for `stale_after`.

    Nothing is known of what lies behind a failing part, so the part nearest to this server is reported alone.
    """
    if database_down_since is not None:
        return [Outage("The mirror's database does not respond", database_down_since)]
    if sync is None:
        return [Outage("No grabber has mirrored this cluster yet", None)]
    oldest = now - stale_after
    if sync.heartbeat_at < oldest:
        return [Outage("The grabber is not reporting", sync.heartbeat_at)]
    if _is_stale(sync.gateway, oldest):
        return [_outage("The DQM² gateway does not respond", sync.gateway)]
    return list(_outages_behind_gateway(sync, oldest))


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


def _outages_behind_gateway(sync: SyncStatus, oldest: datetime) -> Iterator[Outage]:
    for machine, link in sync.machines:
        if _is_stale(link, oldest):
            yield _outage(f"{machine} is not mirrored", link)
    # The cluster status is polled rarely, so its age alone is no sign of an outage.
    if sync.status.failing_since is not None and _is_stale(sync.status, oldest):
        yield replace(_outage("The status of the machines is unknown", sync.status), makes_jobs_stale=False)


def _outage(message: str, link: LinkStatus) -> Outage:
    return Outage(message, link.last_success_at or link.failing_since, link.reason)


def _machines(
    sync: SyncStatus | None, statuses: Iterable[MachineStatus], oldest: datetime
) -> list[MachineFreshness]:
    """The machines that are mirrored or down, by label; a sync before `oldest` is stale."""
    if sync is None:
        return []
    links = dict(sync.machines)
    down = {status.machine: status for status in statuses if status.is_current and not status.is_up}
    return [
        MachineFreshness(
            label, links.get(label), label in links and _is_stale(links[label], oldest), down.get(label)
        )
        for label in sorted({*links, *down})
    ]


def _is_stale(link: LinkStatus, oldest: datetime) -> bool:
    return link.last_success_at is None or link.last_success_at < oldest
