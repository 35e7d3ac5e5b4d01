"""What a grabber knows of each link on the data's way; its heartbeat carries it to the pages."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

# The heartbeat is the only write at rest.
HEARTBEAT_EVERY_S = 5.0
# So long before its end the grid certificate is warned of: log, pages, docs/alerts.yaml.
CERTIFICATE_WARN = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Link:
    """One link: when it last worked, and since when it doesn't and why; `reason` is redacted.

    Of a machine also: how many documents the mirror is `behind`, as far as it knows, and what is `missing`
    because it can't be had.
    """

    worked_at: datetime | None = None
    failing_since: datetime | None = None
    reason: str | None = None
    behind: int = 0
    missing: str | None = None

    def worked(self, at: datetime) -> "Link":
        """The link after it worked."""
        return replace(self, worked_at=at, failing_since=None, reason=None)

    def failed(self, at: datetime, reason: str) -> "Link":
        """The link after it failed; it fails since its first failure."""
        return replace(self, failing_since=self.failing_since or at, reason=reason)


@dataclass(frozen=True, slots=True)
class Links:
    """All links of a cluster: the gateway, each mirrored machine by its number, and the cluster's status.

    `status_machines` are the machines that the cluster's status last spoke of; `certificate_ends_at` is when
    the grid certificate, without which none of them works, ends.
    """

    gateway: Link
    machines: Mapping[int, Link]
    status: Link
    status_machines: tuple[int, ...] = ()
    certificate_ends_at: datetime | None = None


def to_json(links: Links) -> dict[str, Any]:
    """The links as the database keeps them: JSON, times in unix seconds."""
    return {
        "gateway": _link_to_json(links.gateway),
        "machines": {str(machine): _link_to_json(link) for machine, link in links.machines.items()},
        "status": _link_to_json(links.status),
        "status_machines": list(links.status_machines),
        "certificate_ends_at": _unix_s(links.certificate_ends_at),
    }


def from_json(kept: Mapping[str, Any]) -> Links:
    """What `to_json` made."""
    return Links(
        gateway=_link_from_json(kept["gateway"]),
        machines={int(machine): _link_from_json(link) for machine, link in kept["machines"].items()},
        status=_link_from_json(kept["status"]),
        status_machines=tuple(kept["status_machines"]),
        certificate_ends_at=_time(kept.get("certificate_ends_at")),
    )


def _link_to_json(link: Link) -> list[Any]:
    times = (link.worked_at, link.failing_since)
    return [
        *map(_unix_s, times),
        link.reason,
        link.behind,
        link.missing,
    ]


def _link_from_json(kept: list[Any]) -> Link:
    worked_at, failing_since, *rest = kept
    return Link(_time(worked_at), _time(failing_since), *rest)


def _unix_s(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _time(unix_s: float | None) -> datetime | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC)
