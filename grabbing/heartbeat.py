"""The heartbeat: that the grabber lives, and what it knows of each link, told at most every few seconds."""

import time
from dataclasses import replace
from datetime import UTC, datetime

from storage.sync_status import HEARTBEAT_INTERVAL_S, ClusterLinks, LinkStatus
from storage.writer import MirrorWriter


class Heartbeat:
    """Keeps the links of a cluster and writes them; one that breaks, works or catches up is told at once."""

    def __init__(self, writer: MirrorWriter) -> None:
        self.links = ClusterLinks(gateway=LinkStatus(), machines={}, status=LinkStatus())
        self._writer = writer
        self._told_s = 0.0

    def begin(self, links: ClusterLinks, machine_ids: list[int]) -> None:
        """Goes on from what was known before of the gateway, the status and these machines."""
        machines = {id_: links.machines.get(id_, LinkStatus()) for id_ in machine_ids}
        self.links = replace(links, machines=machines)
        self._told_s = 0.0

    def gateway_worked(self) -> None:
        """The gateway answered."""
        self._set_gateway(self.links.gateway.succeeded(_now()))

    def gateway_failed(self, reason: str) -> None:
        """The gateway did not answer, or not us; `reason` is redacted, here and below."""
        self._set_gateway(self.links.gateway.failed(_now(), reason))

    def machine_worked(self, machine_id: int, *, behind: int, missing: str | None) -> None:
        """A machine was mirrored, up to so many documents that are still to come."""
        link = self.links.machines[machine_id].succeeded(_now())
        self._set_machine(machine_id, replace(link, documents_behind=behind, missing=missing))

    def machine_failed(self, machine_id: int, reason: str) -> None:
        """A machine could not be mirrored."""
        self._set_machine(machine_id, self.links.machines[machine_id].failed(_now(), reason))

    def status_worked(self, machine_ids: tuple[int, ...], at: datetime) -> None:
        """The cluster's status was told, of these machines."""
        self.links = replace(self.links, status=self.links.status.succeeded(at), status_machines=machine_ids)

    def status_failed(self, reason: str) -> None:
        """The cluster's status could not be had."""
        self.links = replace(self.links, status=self.links.status.failed(_now(), reason))

    def certificate_ends(self, at: datetime | None) -> None:
        """When the grid certificate ends, if that is known."""
        self.links = replace(self.links, certificate_expires_at=at)

    def beat_if_due(self) -> None:
        """Writes the links if that is due. Raises ClaimLost and SQLAlchemy's errors."""
        if time.monotonic() - self._told_s >= HEARTBEAT_INTERVAL_S:
            self.beat()

    def beat(self) -> None:
        """Writes the links. Raises as `beat_if_due`."""
        self._writer.write_heartbeat(self.links)
        self._told_s = time.monotonic()

    def _set_gateway(self, link: LinkStatus) -> None:
        self._tell_soon_if_changed(self.links.gateway, link)
        self.links = replace(self.links, gateway=link)

    def _set_machine(self, machine_id: int, link: LinkStatus) -> None:
        self._tell_soon_if_changed(self.links.machines[machine_id], link)
        self.links = replace(self.links, machines={**self.links.machines, machine_id: link})

    def _tell_soon_if_changed(self, before: LinkStatus, after: LinkStatus) -> None:
        if _condition(before) != _condition(after):
            self._told_s = 0.0


def _condition(link: LinkStatus) -> tuple[bool, bool, bool, str | None]:
    return (
        link.last_success_at is not None,
        link.failing_since is not None,
        link.documents_behind > 0,
        link.missing,
    )


def _now() -> datetime:
    return datetime.now(UTC)
