"""What a grabber knows of each link on the data's way; its heartbeat carries it to the pages."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

# The heartbeat is the only write at rest.
HEARTBEAT_INTERVAL_S = 5.0
# So long before its end the grid certificate is warned of: log, pages, docs/alerts.yaml.
CERTIFICATE_WARNING_PERIOD = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """One link: when it last worked, and since when it doesn't and why; `reason` is redacted.

    Of a machine also: how many documents the mirror is `behind`, as far as it knows, and what is `missing`
    because it can't be had.
    """

    last_success_at: datetime | None = None
    failing_since: datetime | None = None
    reason: str | None = None
    documents_behind: int = 0
    missing: str | None = None

    def succeeded(self, at: datetime) -> "LinkStatus":
        """The link after it worked."""
        return replace(self, last_success_at=at, failing_since=None, reason=None)

    def failed(self, at: datetime, reason: str) -> "LinkStatus":
        """The link after it failed; it fails since its first failure."""
        return replace(self, failing_since=self.failing_since or at, reason=reason)


@dataclass(frozen=True, slots=True)
class ClusterLinks:
    """All links of a cluster: the gateway, each mirrored machine by its number, and the cluster's status.

    `status_machines` are the machines that the cluster's status last spoke of; `certificate_ends_at` is when
    the grid certificate, without which none of them works, ends.
    """

    gateway: LinkStatus
    machines: Mapping[int, LinkStatus]
    status: LinkStatus
    status_machines: tuple[int, ...] = ()
    certificate_expires_at: datetime | None = None


def to_json(links: ClusterLinks) -> dict[str, Any]:
    """The links as the database keeps them: JSON, times in unix seconds."""
    return {
        "gateway": _link_to_json(links.gateway),
        "machines": {str(machine): _link_to_json(link) for machine, link in links.machines.items()},
        "status": _link_to_json(links.status),
        "status_machines": list(links.status_machines),
        "certificate_ends_at": _unix_s(links.certificate_expires_at),
    }


def from_json(kept: Mapping[str, Any]) -> ClusterLinks:
    """What `to_json` made."""
    return ClusterLinks(
        gateway=_link_from_json(kept["gateway"]),
        machines={int(machine): _link_from_json(link) for machine, link in kept["machines"].items()},
        status=_link_from_json(kept["status"]),
        status_machines=tuple(kept["status_machines"]),
        certificate_expires_at=_time(kept.get("certificate_ends_at")),
    )


def _link_to_json(link: LinkStatus) -> list[Any]:
    times = (link.last_success_at, link.failing_since)
    return [
        *map(_unix_s, times),
        link.reason,
        link.documents_behind,
        link.missing,
    ]


def _link_from_json(kept: list[Any]) -> LinkStatus:
    worked_at, failing_since, *rest = kept
    return LinkStatus(_time(worked_at), _time(failing_since), *rest)


def _unix_s(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _time(unix_s: float | None) -> datetime | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC)
