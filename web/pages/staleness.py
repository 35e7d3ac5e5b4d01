"""Which link on the data's way is broken, so that what is shown is old: DQM²'s machines → gateway → grabber.

While the database is away, a page shows what the server has last known; one that can't have its parts says so
itself (`static/js/connection.js`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from storage.read_models import SyncStatus
from storage.sync_status import CERTIFICATE_WARNING_PERIOD, LinkStatus


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """A link that has been silent for too long: a sentence, since when (`None`: ever), and why if known."""

    sentence: str
    since: datetime | None
    reason: str | None = None


def broken_links(
    freshness: SyncStatus | None, now: datetime, warn_after: timedelta, away_since: datetime | None = None
) -> list[BrokenLink]:
    """The links that have been silent for `warn_after`, nearest first; the database, if that is away.

    What lies behind a broken link can't be told, so a silent grabber or gateway is the only one named.
    """
    if away_since is not None:
        return [BrokenLink("The mirror's database does not answer", away_since)]
    if freshness is None:
        return [BrokenLink("No grabber has mirrored this cluster yet", None)]
    oldest = now - warn_after
    if freshness.heartbeat_at < oldest:
        return [BrokenLink("The grabber is silent", freshness.heartbeat_at)]
    if is_old(freshness.gateway, oldest):
        return [_broken("DQM²'s gateway does not answer", freshness.gateway)]
    return list(_broken_behind_the_gateway(freshness, oldest))


def holds_until(freshness: SyncStatus | None, now: datetime, warn_after: timedelta) -> datetime | None:
    """Until when, if nothing is heard meanwhile, no other link is old and no certificate near its end."""
    if freshness is None:
        return None
    links = [link for _, link in freshness.machines]
    times = [
        freshness.heartbeat_at,
        *(link.last_success_at for link in (freshness.gateway, freshness.status, *links)),
    ]
    moments = [at + warn_after for at in times if at is not None]
    if freshness.certificate_expires_at is not None:
        moments.append(freshness.certificate_expires_at - CERTIFICATE_WARNING_PERIOD)
    return min((at for at in moments if at >= now), default=None)


def certificate_ends_soon(freshness: SyncStatus | None, now: datetime) -> datetime | None:
    """When the grid certificate ends, or ended, if that is near: nothing can be mirrored after it."""
    ends_at = None if freshness is None else freshness.certificate_expires_at
    return ends_at if ends_at is not None and ends_at - now <= CERTIFICATE_WARNING_PERIOD else None


def is_old(link: LinkStatus, oldest: datetime) -> bool:
    """Whether a link last worked before `oldest`, or never did."""
    return link.last_success_at is None or link.last_success_at < oldest


def _broken_behind_the_gateway(freshness: SyncStatus, oldest: datetime) -> Iterator[BrokenLink]:
    for machine, link in freshness.machines:
        if is_old(link, oldest):
            yield _broken(f"{machine} is not mirrored", link)
    # The cluster's status has a slow schedule of its own, so its age alone says nothing.
    if freshness.status.failing_since is not None and is_old(freshness.status, oldest):
        yield _broken("Which machines are up is not known", freshness.status)


def _broken(sentence: str, link: LinkStatus) -> BrokenLink:
    return BrokenLink(sentence, link.last_success_at or link.failing_since, link.reason)
