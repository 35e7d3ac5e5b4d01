"""The freshness bar of every page: when each machine was last synced, what makes data old, and incidents.

While the database is down, pages show what the server last read; a browser that can't reach this server says
so itself (`static/js/connection.js`).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, render_template, url_for

from dqmsquare_cfg import Cluster, Settings
from storage.outages import Outage, Part, find_catching_up, find_outages, is_stale, with_causes
from storage.read_models import MachineStatus, SyncStatus
from storage.sync_status import CERTIFICATE_WARNING_PERIOD, HEARTBEAT_INTERVAL_S, LinkStatus
from web import databases, query_args
from web.cache import dependencies
from web.errors import DatabaseUnavailable
from web.pages.formatting import number
from web.pages.incidents import Incident, IncidentKind, find_incidents, incidents_of_data_path
from web.responses import etag_response
from web.staleness import expire_at_next_change, stale_limit

bp = Blueprint("freshness", __name__)

# A response without a cluster is kept no longer than a database is left alone that was down.
_RETRY_AFTER = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class MachineFreshness:
    """A machine in the freshness bar; `link` is `None` if it is not mirrored, `down` if it is up."""

    label: str
    link: LinkStatus | None
    is_stale: bool
    down: MachineStatus | None


@dataclass(frozen=True, slots=True)
class ClusterFreshness:
    """The freshness of a cluster's data; `certificate_ends_at` is set if that is near or past."""

    cluster: Cluster
    machines: Sequence[MachineFreshness]
    outages: Sequence[Outage]
    incidents: Sequence[Incident]
    certificate_ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class OutageBanner:
    """The banner of an outage, which several clusters may share."""

    outage: Outage
    clusters: tuple[Cluster, ...]


@bp.get("/live/freshness")
@dependencies.cached_view
def fragment() -> Response:
    """Age of each machine's data, machines that are down, a banner per outage, and the incidents."""
    return etag_response(
        render_template("live/_freshness.html", **template_context(query_args.page_cluster()))
    )


@bp.get("/live/freshness/both")
@dependencies.cached_view
def both() -> Response:
    """The same of both clusters, for the Control Room."""
    return etag_response(render_template("live/_freshness.html", **template_context(*Cluster)))


def age_resolution_s(settings: Settings) -> int:
    """Smallest sync age that a page can state; a younger sync may be younger still.

    A heartbeat is late by up to the pause between two polls, and a page fetches it at its own interval.
    """
    heartbeat_s = HEARTBEAT_INTERVAL_S + settings.grabber_sleep_time_info
    return math.ceil(heartbeat_s + settings.frontend_api_query_interval / 1000)


def template_context(*clusters: Cluster) -> dict[str, Any]:
    """The variables of `live/_freshness.html` for one cluster or several."""
    if len(clusters) == 1:
        found = [read(*clusters)]
    else:
        found = [_read_or_outage(cluster) for cluster in clusters]
        found = _without_shared_incidents([_name_cluster(status) for status in found])
    certificates = [status.certificate_ends_at for status in found if status.certificate_ends_at is not None]
    certificate_ends_at = min(certificates, default=None)
    return {
        "freshness": found,
        "freshness_url": url_for("freshness.both")
        if len(found) > 1
        else url_for("freshness.fragment", db=found[0].cluster),
        "banners": outage_banners(found),
        "stale_after_ms": stale_limit() / timedelta(milliseconds=1),
        "certificate_ends_at": certificate_ends_at,
        "certificate_has_expired": certificate_ends_at is not None
        and certificate_ends_at <= datetime.now(UTC),
    }


def read(cluster: Cluster) -> ClusterFreshness:
    """The freshness of a cluster's data. Raises DatabaseUnavailable if nothing of it was ever read."""
    reader = databases.stale_ok_reader(cluster)
    sync = reader.cluster.sync_status()
    now, stale_after = datetime.now(UTC), stale_limit()
    expire_at_next_change(sync, now, stale_after)
    down = [status for status in reader.cluster.machine_statuses() if status.is_down]
    outages = _outages(cluster, sync, down, now)
    return ClusterFreshness(
        cluster=cluster,
        machines=_machines(sync, down, now - stale_after),
        outages=[*outages, *_catch_ups(sync, outages)],
        incidents=find_incidents(reader, outages, down),
        certificate_ends_at=certificate_ends_soon(sync, now),
    )


def read_outages(cluster: Cluster) -> list[Outage]:
    """The outages of a cluster as its pages show them, without incidents. Raises DatabaseUnavailable."""
    reader = databases.stale_ok_reader(cluster)
    sync, now = reader.cluster.sync_status(), datetime.now(UTC)
    down = [status for status in reader.cluster.machine_statuses() if status.is_down]
    expire_at_next_change(sync, now, stale_limit())
    outages = _outages(cluster, sync, down, now)
    return [*outages, *_catch_ups(sync, outages)]


def _outages(
    cluster: Cluster, sync: SyncStatus | None, down: Iterable[MachineStatus], now: datetime
) -> list[Outage]:
    found = find_outages(sync, now, stale_limit(), databases.unavailable_since(cluster))
    return with_causes(found, down)


def _catch_ups(sync: SyncStatus | None, outages: Sequence[Outage]) -> list[Outage]:
    """The machines that are catching up, as outages: until they are done, their jobs are old.

    They are no incidents, because the mirror recovers by itself.
    """
    return [
        Outage(
            Part.MACHINE,
            f"{machine} is catching up",
            since=None,
            reason=f"{number(link.documents_behind)} documents are still to be mirrored",
            machine=machine,
        )
        for machine, link in find_catching_up(sync, outages)
    ]


def _read_or_outage(cluster: Cluster) -> ClusterFreshness:
    """The same; if nothing was ever read, no more than the outage of the database."""
    try:
        return read(cluster)
    except DatabaseUnavailable:
        since = databases.unavailable_since(cluster)
        if since is None:
            raise
        now = datetime.now(UTC)
        dependencies.expire_at(now + _RETRY_AFTER)
        outages = find_outages(None, now, stale_limit(), since)
        return ClusterFreshness(cluster, (), outages, [*incidents_of_data_path(outages, {})], None)


def outage_banners(statuses: Iterable[ClusterFreshness]) -> list[OutageBanner]:
    """A banner per outage; the outage of a part that clusters share has one, with its earliest time."""
    by_message: dict[str, OutageBanner] = {}
    for status in statuses:
        for outage in status.outages:
            known = by_message.get(outage.message)
            if known is None:
                by_message[outage.message] = OutageBanner(outage, (status.cluster,))
            else:
                earlier = min(known.outage, outage, key=_beginning)
                by_message[outage.message] = OutageBanner(earlier, (*known.clusters, status.cluster))
    return list(by_message.values())


def _beginning(event: Outage | Incident) -> float:
    """Sort key: since when; an outage of something that never worked began first."""
    since = event.since if isinstance(event, Outage) else event.began_at
    return 0.0 if since is None else since.timestamp()


def _name_cluster(status: ClusterFreshness) -> ClusterFreshness:
    """The status with incidents that name their cluster, except those of parts that clusters share."""
    incidents = [
        incident
        if incident.kind is IncidentKind.OUTAGE
        else replace(incident, text=f"{incident.text} ({status.cluster})")
        for incident in status.incidents
    ]
    return replace(status, incidents=incidents)


def _without_shared_incidents(statuses: Sequence[ClusterFreshness]) -> list[ClusterFreshness]:
    """The statuses with each shared outage as an incident of one cluster, that in which it began first."""
    first: dict[str, Incident] = {}
    for incident in (incident for status in statuses for incident in status.incidents):
        known = first.get(incident.text)
        first[incident.text] = incident if known is None else min(known, incident, key=_beginning)
    return [
        replace(status, incidents=[each for each in status.incidents if first[each.text] is each])
        for status in statuses
    ]


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
