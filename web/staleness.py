"""Which link on the data's way is broken, so that what is shown is old: DQM²'s machines → gateway → grabber.

The links beyond, database and server, tell of themselves: a page that can't have its parts says so
(`static/js/connection.js`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from mirror.findings import Freshness
from mirror.links import CERTIFICATE_WARN, Link


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """A link that has been silent for too long: a sentence, since when (`None`: ever), and why if known."""

    sentence: str
    since: datetime | None
    reason: str | None = None


def broken_links(freshness: Freshness | None, now: datetime, warn_after: timedelta) -> list[BrokenLink]:
    """The links that have been silent for `warn_after`, nearest first.

    What lies behind a broken link can't be told, so a silent grabber or gateway is the only one named.
    """
    if freshness is None:
        return [BrokenLink("No grabber has mirrored this cluster yet", None)]
    oldest = now - warn_after
    if freshness.beat_at < oldest:
        return [BrokenLink("The grabber is silent", freshness.beat_at)]
    if is_old(freshness.gateway, oldest):
        return [_broken("DQM²'s gateway does not answer", freshness.gateway)]
    return list(_broken_behind_the_gateway(freshness, oldest))


def certificate_ends_soon(freshness: Freshness | None, now: datetime) -> datetime | None:
    """When the grid certificate ends, or ended, if that is near: nothing can be mirrored after it."""
    ends_at = None if freshness is None else freshness.certificate_ends_at
    return ends_at if ends_at is not None and ends_at - now <= CERTIFICATE_WARN else None


def is_old(link: Link, oldest: datetime) -> bool:
    """Whether a link last worked before `oldest`, or never did."""
    return link.worked_at is None or link.worked_at < oldest


def _broken_behind_the_gateway(freshness: Freshness, oldest: datetime) -> Iterator[BrokenLink]:
    for machine, link in freshness.machines:
        if is_old(link, oldest):
            yield _broken(f"{machine} is not mirrored", link)
    # The cluster's status has a slow schedule of its own, so its age alone says nothing.
    if freshness.status.failing_since is not None and is_old(freshness.status, oldest):
        yield _broken("Which machines are up is not known", freshness.status)


def _broken(sentence: str, link: Link) -> BrokenLink:
    return BrokenLink(sentence, link.worked_at or link.failing_since, link.reason)
