"""A cluster's machines in turn, then its status: what one grabber asks the gateway for, one after the other.

A machine that fails is asked ever more rarely, so that it costs the others little. Trouble with the gateway,
which is everyone's, holds all machines back; the next to be asked is then another one, lest a machine whose
answers look like the gateway's trouble keep the others waiting.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from dqm2.errors import Dqm2Error, Dqm2Refused, Dqm2Unreachable
from dqm2.pseudonyms import default_label
from dqm2.records import MachineState
from dqm2.sync_messages import ClusterStatus
from grabbing import metrics
from grabbing.backoff import Turn
from grabbing.heartbeat import Heartbeat
from grabbing.machine_sync import MachineSync, Means
from runtime import logging_setup
from storage.sync_status import ClusterLinks

log = logging.getLogger(__name__)

# The longest pauses for a machine that fails, and for a gateway that does.
_MACHINE_PAUSE_S = 60.0
_GATEWAY_PAUSE_S = 15.0
LONGEST_REASON = 500
# A cluster gets some new machines a year. A status that tells of other names each time, of machines that
# are none, fills the database with no more than this.
_MOST_KNOWN = 1000


class Rounds:
    """Mirrors the machines `hosts` every `pause_s` seconds, and the status every `status_pause_s`."""

    def __init__(
        self,
        means: Means,
        heartbeat: Heartbeat,
        hosts: Sequence[str],
        *,
        pause_s: float,
        status_pause_s: float,
    ) -> None:
        self._means = means
        self._heartbeat = heartbeat
        self._cluster = means.cluster.value
        self._turns = {host: Turn(pause_s, pause_s, _MACHINE_PAUSE_S) for host in hosts}
        self._gateway = Turn(0.0, pause_s, _GATEWAY_PAUSE_S)
        self._status = Turn(status_pause_s, status_pause_s, 4 * status_pause_s)
        self._machines: dict[str, MachineSync] = {}

    def begin(self, links: ClusterLinks) -> None:
        """Begins where the database is; `links` are what was known of them before."""
        identities = {host: self._means.identities.for_machine(host) for host in self._turns}
        known = self._means.writer.register_machines(
            {identity: default_label(host) for host, identity in identities.items()}
        )
        machines = {host: known[identity] for host, identity in identities.items()}
        self._heartbeat.begin(links, [machine.id for machine in machines.values()])
        self._machines = {
            host: MachineSync(self._means, host, machine, self._heartbeat.links.machines[machine.id].missing)
            for host, machine in machines.items()
        }

    def leave(self) -> None:
        """Lets go of what is half done; the cluster may be another grabber's for long."""
        for sync in self._machines.values():
            sync.leave()
        self._machines = {}

    def round(self) -> bool:
        """Mirrors every machine whose turn it is, for some seconds each; if all worked, asks for the status.

        Whether there is more to do at once. Raises Stopped, ClaimLost and SQLAlchemy's errors.
        """
        due, has_more = self._due(), False
        for host in due:
            has_more = self._mirror(host) or has_more
            if self._gateway.failures:
                return False
        # A machine that is dead keeps the gateway busy for 5 s, and for 5 s more when it is asked which are
        # up. The others have their turn between the two.
        if self._status.is_due() and not any(self._turns[host].failures for host in due):
            self._ask_status()
        return has_more

    def once(self) -> bool:
        """One pass over all machines and the status; whether all were mirrored. Raises as `round`.

        A machine that failed is asked again at the end of it. It ends early where the gateway fails.
        """
        self._mirror_whole(self._turns)
        self._mirror_whole([host for host, turn in self._turns.items() if turn.failures])
        if not self._gateway_fails_everyone:
            self._ask_status()
        self._heartbeat.beat()
        return not any(turn.failures for turn in self._turns.values())

    def _mirror_whole(self, hosts: Iterable[str]) -> None:
        for host in hosts:
            if self._gateway_fails_everyone:
                return
            while self._mirror(host):
                pass

    def _due(self) -> list[str]:
        """The machines whose turn it is, the one that waited longest first; none while the gateway fails."""
        if not self._gateway.is_due():
            return []
        due = [host for host, turn in self._turns.items() if turn.is_due()]
        return sorted(due, key=lambda host: self._turns[host].taken_at)

    def _mirror(self, host: str) -> bool:
        """Mirrors a machine for some seconds; whether there is more to do at once."""
        sync, turn = self._machines[host], self._turns[host]
        turn.take()
        try:
            has_more = sync.mirror_some()
        except (Dqm2Unreachable, Dqm2Refused) as error:
            turn.failed()
            self._gateway_failed(error)
            return False
        except Dqm2Error as error:
            turn.failed()
            self._gateway_worked()
            self._machine_failed(sync, turn, error)
            return False
        except sa.exc.SQLAlchemyError:
            # Whatever it is of this machine that the database fails at, the others come first.
            turn.failed()
            raise
        if not has_more:
            turn.worked()
        self._gateway_worked()
        self._heartbeat.machine_worked(sync.machine.id, behind=sync.behind, missing=sync.missing)
        self._heartbeat.beat_if_due()
        return has_more

    def _machine_failed(self, sync: MachineSync, turn: Turn, error: Dqm2Error) -> None:
        reason = self._reason(error)
        log.warning(
            "failed host=%s times=%d reason=%s",
            sync.machine.label,
            turn.failures,
            logging_setup.quote_value(reason),
        )
        self._heartbeat.machine_failed(sync.machine.id, reason)

    @property
    def _gateway_fails_everyone(self) -> bool:
        """Whether one machine after the other met its trouble, so that it is no machine's own."""
        return self._gateway.failures > 1

    def _gateway_worked(self) -> None:
        if self._gateway.failures:
            log.info("gateway answers again cluster=%s", self._cluster)
        if self._gateway_fails_everyone:
            for turn in self._turns.values():
                turn.forgive()
        self._gateway.worked()
        self._heartbeat.gateway_worked()

    def _gateway_failed(self, error: Dqm2Error) -> None:
        self._gateway.failed()
        reason = self._reason(error)
        log.warning(
            "failed gateway of cluster=%s times=%d reason=%s",
            self._cluster,
            self._gateway.failures,
            logging_setup.quote_value(reason),
        )
        self._heartbeat.gateway_failed(reason)

    def _ask_status(self) -> None:
        """Asks the gateway which machines answer, and writes down what has changed."""
        question = self._means.line.put(lambda: self._means.client.get_cluster_status(self._means.cluster))
        try:
            status = question.answer()
        except Dqm2Error as error:
            self._status.failed()
            reason = self._reason(error)
            log.warning(
                "failed status of cluster=%s reason=%s", self._cluster, logging_setup.quote_value(reason)
            )
            metrics.request_errors.labels(self._cluster, "gateway", type(error).__name__).inc()
            self._heartbeat.status_failed(reason)
            return
        self._status.worked()
        self._keep_states(status)

    def _keep_states(self, status: ClusterStatus) -> None:
        checked_at = datetime.now(UTC)
        identities = {
            machine.name: self._means.identities.for_machine(machine.name) for machine in status.machines
        }
        machines = self._means.writer.register_machines(
            {identity: default_label(name) for name, identity in identities.items()}, limit=_MOST_KNOWN
        )
        known = [machine for machine in status.machines if identities[machine.name] in machines]
        by_id = {
            machines[identities[machine.name]].id: MachineState(
                machine.is_up, None if machine.reason is None else self._short(machine.reason)
            )
            for machine in known
        }
        self._means.writer.write_machine_states(by_id, checked_at)
        self._heartbeat.status_worked(tuple(by_id), checked_at)
        self._tell_left_out(len(status.invalid_entries) + len(status.machines) - len(known))

    def _tell_left_out(self, entries: int) -> None:
        if entries:
            log.warning("left out of status cluster=%s entries=%d", self._cluster, entries)
            metrics.values_left_out.labels(self._cluster, "status").inc(entries)

    def _reason(self, error: Dqm2Error) -> str:
        return self._short(str(error)) or type(error).__name__

    def _short(self, text: str) -> str:
        """Text that came from P5, or may name it, as it may be kept and shown."""
        return self._means.redact(text)[:LONGEST_REASON]
