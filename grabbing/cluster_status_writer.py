"""Writer of the states of machines that a cluster status reports."""

import logging
from datetime import UTC, datetime

from dqm2.pseudonyms import Pseudonymizer, default_label
from dqm2.records import MachineState
from dqm2.sync_messages import ClusterStatus, MachineReachability
from dqmsquare_cfg import Cluster
from grabbing import metrics
from grabbing.document_pipeline import DocumentProcessor
from storage.sync_status import MAX_REASON_CHARS
from storage.writer import MirrorWriter

log = logging.getLogger(__name__)

# A cluster gets a few new machines a year. Statuses that name others each time add no more than this.
_MAX_MACHINES = 1000


class ClusterStatusWriter:
    """Writer of cluster statuses; it registers machines that are named for the first time."""

    def __init__(
        self,
        writer: MirrorWriter,
        processor: DocumentProcessor,
        pseudonyms: Pseudonymizer,
        cluster: Cluster,
    ) -> None:
        self._writer = writer
        self._processor = processor
        self._pseudonyms = pseudonyms
        self._cluster = cluster.value

    def write(self, status: ClusterStatus) -> tuple[tuple[int, ...], datetime]:
        """Write what has changed; return the ids of the machines in the status, and its time.

        Raises LeadershipLost and SQLAlchemyError.
        """
        checked_at = datetime.now(UTC)
        pseudonyms = {state.name: self._pseudonyms.for_machine(state.name) for state in status.machines}
        machines = self._writer.register_machines(
            {identity: default_label(name) for name, identity in pseudonyms.items()}, limit=_MAX_MACHINES
        )
        known = [state for state in status.machines if pseudonyms[state.name] in machines]
        states = {machines[pseudonyms[state.name]].id: self._state(state) for state in known}
        self._writer.write_machine_states(states, checked_at)
        self._report_skipped(len(status.invalid_entries) + len(status.machines) - len(known))
        return tuple(states), checked_at

    def _state(self, reported: MachineReachability) -> MachineState:
        reason = reported.reason
        redacted = None if reason is None else self._processor.redact(reason)[:MAX_REASON_CHARS]
        return MachineState(reported.is_up, redacted)

    def _report_skipped(self, entries: int) -> None:
        if entries:
            log.warning("status_entries_skipped cluster=%s entries=%d", self._cluster, entries)
            metrics.fields_dropped.labels(self._cluster, "status").inc(entries)
