"""Schedule of one cluster's requests: its machines in turn, then the cluster status.

A machine that fails is polled less and less often, so that it does not hold up the others. A gateway that
fails, which affects every machine, holds all of them back; another machine is then tried next, in case one
machine's responses only look like a failing gateway.
"""

import logging
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from dqm2.errors import Dqm2Error, Dqm2Refused, Dqm2Unreachable
from dqm2.pseudonyms import Pseudonymizer, default_label
from grabbing.backoff import Backoff
from grabbing.cluster_status_writer import ClusterStatusWriter
from grabbing.document_pipeline import DocumentProcessor
from grabbing.gateway_queue import GatewayQueue
from grabbing.heartbeat import Heartbeat
from grabbing.machine_sync import MachineSync
from runtime import logging_setup
from storage.sync_status import MAX_REASON_CHARS, ClusterLinks
from storage.writer import MirrorWriter

log = logging.getLogger(__name__)

_MAX_MACHINE_PAUSE_S = 60.0
_MAX_GATEWAY_PAUSE_S = 15.0
_MAX_DATABASE_PAUSE_S = 15.0


class ClusterScheduler:
    """Mirrors the machines `hosts` every `interval_s` seconds, and the status every `status_interval_s`."""

    def __init__(
        self,
        gateway: GatewayQueue,
        writer: MirrorWriter,
        processor: DocumentProcessor,
        pseudonyms: Pseudonymizer,
        heartbeat: Heartbeat,
        hosts: Sequence[str],
        *,
        interval_s: float,
        status_interval_s: float,
    ) -> None:
        self._gateway = gateway
        self._writer = writer
        self._processor = processor
        self._pseudonyms = pseudonyms
        self._heartbeat = heartbeat
        self._status_writer = ClusterStatusWriter(writer, processor, pseudonyms, gateway.cluster)
        self._cluster = gateway.cluster.value
        self._machine_backoff = {
            host: Backoff(interval_s, interval_s, _MAX_MACHINE_PAUSE_S) for host in hosts
        }
        self._gateway_backoff = Backoff(0.0, interval_s, _MAX_GATEWAY_PAUSE_S)
        self._status_backoff = Backoff(status_interval_s, status_interval_s, 4 * status_interval_s)
        self._machines: dict[str, MachineSync] = {}

    def start(self, links: ClusterLinks) -> None:
        """Continue from the checkpoints in the database; `links` is the stored status of the links."""
        pseudonyms = {host: self._pseudonyms.for_machine(host) for host in self._machine_backoff}
        known = self._writer.register_machines(
            {identity: default_label(host) for host, identity in pseudonyms.items()}
        )
        machines = {host: known[identity] for host, identity in pseudonyms.items()}
        self._heartbeat.start(links, [machine.id for machine in machines.values()])
        self._machines = {
            host: MachineSync(
                self._gateway,
                self._writer,
                self._processor,
                self._pseudonyms,
                host=host,
                machine=machine,
                missing=self._heartbeat.links.machines[machine.id].missing,
            )
            for host, machine in machines.items()
        }

    def abandon(self) -> None:
        """Drop unfinished work: another grabber may mirror the cluster for a long time."""
        for sync in self._machines.values():
            sync.abandon()
        self._machines = {}

    def run_due(self) -> bool:
        """Mirror every machine that is due for one time slice; if all succeed, fetch the status if due.

        Return whether there is more to do at once. Raises Stopped, LeadershipLost and SQLAlchemyError.
        """
        due, has_more = self._due_hosts(), False
        for host in due:
            has_more = self._sync(host) or has_more
            if self._gateway_backoff.failures:
                return False
        # A dead machine blocks the gateway for 5 s, and for 5 s more when the status is fetched. The other
        # machines get their turn in between.
        if self._status_backoff.is_due() and not any(self._machine_backoff[host].failures for host in due):
            self._sync_status()
        return has_more

    def run_once(self) -> bool:
        """Mirror all machines and the status once; return whether every machine succeeded.

        Machines that failed are retried at the end. A failing gateway ends the pass early. Raises as
        `run_due`.
        """
        self._sync_completely(self._machine_backoff)
        self._sync_completely([host for host, backoff in self._machine_backoff.items() if backoff.failures])
        if not self._is_gateway_down:
            self._sync_status()
        self._heartbeat.beat()
        return not any(backoff.failures for backoff in self._machine_backoff.values())

    def _sync_completely(self, hosts: Iterable[str]) -> None:
        for host in hosts:
            if self._is_gateway_down:
                return
            while self._sync(host):
                pass

    def _due_hosts(self) -> list[str]:
        """The machines that are due, the one that waited longest first; none while the gateway backs off."""
        if not self._gateway_backoff.is_due():
            return []
        due = [host for host, backoff in self._machine_backoff.items() if backoff.is_due()]
        return sorted(due, key=lambda host: self._machine_backoff[host].started_at_s)

    def _sync(self, host: str) -> bool:
        """Mirror a machine for one time slice; return whether there is more to do at once."""
        sync, backoff = self._machines[host], self._machine_backoff[host]
        backoff.start()
        try:
            has_more = sync.sync_slice()
        except (Dqm2Unreachable, Dqm2Refused) as error:
            backoff.failed()
            self._on_gateway_failure(error)
            return False
        except Dqm2Error as error:
            backoff.failed()
            self._on_gateway_success()
            self._on_machine_failure(sync, backoff, error)
            return False
        except sa.exc.SQLAlchemyError:
            # The database may fail at this machine's documents only: the others go first. If it was full, all
            # are to be mirrored soon after.
            backoff.failed(_MAX_DATABASE_PAUSE_S)
            raise
        if not has_more:
            backoff.succeeded()
        self._on_gateway_success()
        self._heartbeat.machine_succeeded(sync.machine.id, behind=sync.behind, missing=sync.missing)
        self._heartbeat.beat_if_due()
        return has_more

    def _on_machine_failure(self, sync: MachineSync, backoff: Backoff, error: Dqm2Error) -> None:
        reason = self._reason(error)
        log.warning(
            "machine_sync_failed host=%s failures=%d reason=%s",
            sync.machine.label,
            backoff.failures,
            logging_setup.quote_value(reason),
        )
        self._heartbeat.machine_failed(sync.machine.id, reason)

    @property
    def _is_gateway_down(self) -> bool:
        """Whether requests to different machines failed in a row, so that no single machine is at fault."""
        return self._gateway_backoff.failures > 1

    def _on_gateway_success(self) -> None:
        if self._gateway_backoff.failures:
            log.info("gateway_recovered cluster=%s", self._cluster)
        if self._is_gateway_down:
            for backoff in self._machine_backoff.values():
                backoff.reset()
        self._gateway_backoff.succeeded()
        self._heartbeat.gateway_succeeded()

    def _on_gateway_failure(self, error: Dqm2Error) -> None:
        self._gateway_backoff.failed()
        reason = self._reason(error)
        log.warning(
            "gateway_failed cluster=%s failures=%d reason=%s",
            self._cluster,
            self._gateway_backoff.failures,
            logging_setup.quote_value(reason),
        )
        self._heartbeat.gateway_failed(reason)

    def _sync_status(self) -> None:
        """Fetch the cluster status from the gateway and store what has changed."""
        try:
            status = self._gateway.cluster_status()
        except Dqm2Error as error:
            self._status_backoff.failed()
            reason = self._reason(error)
            log.warning(
                "cluster_status_failed cluster=%s reason=%s", self._cluster, logging_setup.quote_value(reason)
            )
            self._heartbeat.status_failed(reason)
            return
        self._status_backoff.succeeded()
        self._heartbeat.status_succeeded(*self._status_writer.write(status))

    def _reason(self, error: Dqm2Error) -> str:
        """The reason for a failure, redacted and short enough to be stored and shown."""
        return self._processor.redact(str(error))[:MAX_REASON_CHARS] or type(error).__name__
