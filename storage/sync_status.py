"""Status of each link of the data flow as the grabber sees it; stored with the heartbeat."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

# The heartbeat is the only write while nothing happens.
HEARTBEAT_INTERVAL_S = 5.0
# Time before the grid certificate's expiry at which log, pages and docs/alerts.yaml begin to warn.
CERTIFICATE_WARNING_PERIOD = timedelta(days=14)
# Longest reason of a failure that is stored.
MAX_REASON_CHARS = 500
# More documents than arrive between two polls.
CATCHING_UP_DOCUMENTS = 200


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """Status of a link; `reason` of a failure is redacted.

    For a machine also: `documents_behind`, how many documents are yet to be mirrored as far as known, and
    `missing`, a description of documents that are unavailable.
    """

    last_success_at: datetime | None = None
    failing_since: datetime | None = None
    reason: str | None = None
    documents_behind: int = 0
    missing: str | None = None

    @property
    def is_catching_up(self) -> bool:
        """Whether so many documents are yet to be mirrored that the machine's jobs are old."""
        return self.documents_behind > CATCHING_UP_DOCUMENTS

    def succeeded(self, at: datetime) -> "LinkStatus":
        """The status after a success."""
        return replace(self, last_success_at=at, failing_since=None, reason=None)

    def failed(self, at: datetime, reason: str) -> "LinkStatus":
        """The status after a failure; `failing_since` is the time of the first one in a row.

        A last success that is later than the failure is from a clock that was set back since.
        """
        last_success_at = None if self.last_success_at is None else min(self.last_success_at, at)
        return replace(
            self, last_success_at=last_success_at, failing_since=self.failing_since or at, reason=reason
        )


@dataclass(frozen=True, slots=True)
class ClusterLinks:
    """All links of a cluster: the gateway, each mirrored machine by its id, and the cluster's status.

    `status_machines` are the machines in the latest cluster status. `certificate_expires_at` is the expiry of
    the grid certificate, which all links need.
    """

    gateway: LinkStatus
    machines: Mapping[int, LinkStatus]
    status: LinkStatus
    status_machines: tuple[int, ...] = ()
    certificate_expires_at: datetime | None = None


def to_json(links: ClusterLinks) -> dict[str, Any]:
    """JSON form of the links, with times in Unix seconds."""
    return {
        "gateway": _link_to_json(links.gateway),
        "machines": {str(machine): _link_to_json(link) for machine, link in links.machines.items()},
        "status": _link_to_json(links.status),
        "status_machines": list(links.status_machines),
        "certificate_expires_at": _unix_s(links.certificate_expires_at),
    }


def from_json(stored: Mapping[str, Any]) -> ClusterLinks:
    """Inverse of `to_json`."""
    return ClusterLinks(
        gateway=_link_from_json(stored["gateway"]),
        machines={int(machine): _link_from_json(link) for machine, link in stored["machines"].items()},
        status=_link_from_json(stored["status"]),
        status_machines=tuple(stored["status_machines"]),
        certificate_expires_at=_time(stored["certificate_expires_at"]),
    )


def _link_to_json(link: LinkStatus) -> list[Any]:
    times = (link.last_success_at, link.failing_since)
    return [*map(_unix_s, times), link.reason, link.documents_behind, link.missing]


def _link_from_json(stored: list[Any]) -> LinkStatus:
    last_success_at, failing_since, *rest = stored
    return LinkStatus(_time(last_success_at), _time(failing_since), *rest)


def _unix_s(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _time(unix_s: float | None) -> datetime | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC)
