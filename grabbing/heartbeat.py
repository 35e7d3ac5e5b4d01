"""Heartbeat of a grabber: its liveness and the status of each link, written every few seconds."""

import time
from dataclasses import replace
from datetime import UTC, datetime

from storage.sync_status import HEARTBEAT_INTERVAL_S, ClusterLinks, LinkStatus
from storage.writer import MirrorWriter


class Heartbeat:
    """Status of a cluster's links; a change from working to failing or back is written with the next beat."""

    def __init__(self, writer: MirrorWriter) -> None:
        self.links = ClusterLinks(gateway=LinkStatus(), machines={}, status=LinkStatus())
        self._writer = writer
        self._due_at_s = time.monotonic()

    def start(self, links: ClusterLinks, machine_ids: list[int]) -> None:
        """Continue from the stored status of the gateway, the cluster status and these machines."""
        machines = {id_: links.machines.get(id_, LinkStatus()) for id_ in machine_ids}
        self.links = replace(links, machines=machines)
        self._due_at_s = time.monotonic()

    def gateway_succeeded(self) -> None:
        """Record that the gateway answered."""
        self._set_gateway(self.links.gateway.succeeded(_now()))

    def gateway_failed(self, reason: str) -> None:
        """Record that the gateway did not answer or refused; `reason` is redacted, here and below."""
        self._set_gateway(self.links.gateway.failed(_now(), reason))

    def machine_succeeded(self, machine_id: int, *, behind: int, missing: str | None) -> None:
        """Record that a machine was mirrored, except for `behind` documents that are still to come."""
        link = self.links.machines[machine_id].succeeded(_now())
        self._set_machine(machine_id, replace(link, documents_behind=behind, missing=missing))

    def machine_failed(self, machine_id: int, reason: str) -> None:
        """Record that a machine could not be mirrored."""
        self._set_machine(machine_id, self.links.machines[machine_id].failed(_now(), reason))

    def status_succeeded(self, machine_ids: tuple[int, ...], at: datetime) -> None:
        """Record the machines that the cluster status covered."""
        self.links = replace(self.links, status=self.links.status.succeeded(at), status_machines=machine_ids)

    def status_failed(self, reason: str) -> None:
        """Record that the cluster status could not be fetched."""
        self.links = replace(self.links, status=self.links.status.failed(_now(), reason))

    def set_certificate_expiry(self, at: datetime | None) -> None:
        """Record when the grid certificate expires, if that is known."""
        self.links = replace(self.links, certificate_expires_at=at)

    def beat_if_due(self) -> None:
        """Write the status if that is due. Raises LeadershipLost and SQLAlchemyError."""
        if time.monotonic() >= self._due_at_s:
            self.beat()

    def beat(self) -> None:
        """Write the status. Raises LeadershipLost and SQLAlchemyError."""
        self._writer.write_heartbeat(self.links)
        self._due_at_s = time.monotonic() + HEARTBEAT_INTERVAL_S

    def _set_gateway(self, link: LinkStatus) -> None:
        self._expedite_if_changed(self.links.gateway, link)
        self.links = replace(self.links, gateway=link)

    def _set_machine(self, machine_id: int, link: LinkStatus) -> None:
        self._expedite_if_changed(self.links.machines[machine_id], link)
        self.links = replace(self.links, machines={**self.links.machines, machine_id: link})

    def _expedite_if_changed(self, before: LinkStatus, after: LinkStatus) -> None:
        if _condition(before) != _condition(after):
            self._due_at_s = time.monotonic()


def _condition(link: LinkStatus) -> tuple[bool, bool, bool, str | None]:
    return (
        link.last_success_at is not None,
        link.failing_since is not None,
        link.documents_behind > 0,
        link.missing,
    )


def _now() -> datetime:
    return datetime.now(UTC)
