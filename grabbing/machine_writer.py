"""Writer of one machine's documents, each batch together with the checkpoint that it reaches.

Documents that the database rejects are quarantined; the others of their batch are stored.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from dqm2.headers import INVALID_TYPE
from dqm2.records import DocumentType
from dqmsquare_cfg import Cluster
from grabbing import metrics
from grabbing.document_fetcher import FetchedBatch
from grabbing.document_pipeline import KeyedHeader
from runtime import logging_setup
from storage.rows import Batch, DocumentRow, QuarantinedDocument
from storage.writer import MirrorWriter, RegisteredMachine, RowRejected

log = logging.getLogger(__name__)

# A document time this far in the future comes from a broken clock and is not used as the machine's clock.
_MAX_CLOCK_AHEAD = timedelta(days=1)
# Lower than any stored (epoch, revision).
_NOT_STORED = (-1, -1)
_MIRRORED_TYPES = frozenset((*DocumentType, INVALID_TYPE))


class MachineWriter:
    """Writer of one machine's documents; `checkpoint` is the stored one.

    `documents_written` counts documents since this writer was made. Methods raise LeadershipLost and
    SQLAlchemyError.
    """

    def __init__(self, writer: MirrorWriter, machine: RegisteredMachine, cluster: Cluster) -> None:
        self.machine = machine
        self.checkpoint = machine.checkpoint
        self.documents_written = 0
        self.metric_labels = {"cluster": cluster.value, "machine": machine.label}
        self._writer = writer
        self._cluster = cluster.value

    def select_newer(self, keyed: Sequence[KeyedHeader]) -> Sequence[KeyedHeader]:
        """The documents newer than what is stored, of the mirrored types or of a type that is not known."""
        mirrored = [one for one in keyed if one.header.type in _MIRRORED_TYPES]
        stored = self._writer.stored_versions([one.identity for one in mirrored])
        epoch = self.checkpoint.epoch
        return [
            one for one in mirrored if stored.get(one.identity, _NOT_STORED) < (epoch, one.header.revision)
        ]

    def start_epoch(self) -> None:
        """Begin the next epoch, whose documents overwrite whatever is stored."""
        checkpoint = self.checkpoint.next_epoch()
        log.warning(
            "revision_reset host=%s epoch=%d after_revision=%s",
            self.machine.label,
            checkpoint.epoch,
            self.checkpoint.revision,
        )
        metrics.revision_resets.labels(**self.metric_labels).inc()
        self._write(Batch(self.machine.id, checkpoint, None, ()))

    def store(self, batch: FetchedBatch, *, is_caught_up: bool) -> bool:
        """Write a batch with the checkpoint that it reaches; return whether documents were quarantined."""
        last = batch.headers[-1]
        checkpoint = replace(
            self.checkpoint,
            revision=last.header.revision,
            last_document=last.identity,
            last_document_at=last.header.updated_at,
        )
        clock_at = _machine_clock(batch.headers)
        processed = batch.processed
        has_quarantined = self._write(
            Batch(
                machine_id=self.machine.id,
                checkpoint=checkpoint,
                clock_at=clock_at,
                rows=processed.rows,
                quarantined=processed.quarantined,
                dropped_fields=processed.dropped_fields,
                is_caught_up=is_caught_up,
            )
        )
        if clock_at is not None:
            metrics.newest_document_timestamp.labels(**self.metric_labels).set(clock_at.timestamp())
        return has_quarantined

    def store_retried(self, batch: FetchedBatch) -> bool:
        """Write the documents of a retry that are valid now; return whether the database rejected any.

        The checkpoint does not move, and the other documents stay quarantined.
        """
        return self._write(
            Batch(
                machine_id=self.machine.id,
                checkpoint=self.checkpoint,
                clock_at=None,
                rows=batch.processed.rows,
                dropped_fields=batch.processed.dropped_fields,
            )
        )

    def quarantined_versions(self) -> Mapping[UUID, tuple[int, int]]:
        """The (epoch, revision) of the quarantined documents."""
        return self._writer.quarantined_versions(self.machine.id)

    def forget_gone(self, quarantined: Collection[UUID], listed: Iterable[UUID]) -> None:
        """Forget quarantined documents that a complete response does not list: the machine lacks them.

        The response begins at or below their revisions; a document that was updated since has a higher one.
        """
        # Most machines have none, and `listed` may be long and is made as it is read.
        if not quarantined:
            return
        gone = set(quarantined).difference(listed)
        if gone:
            self._writer.forget_quarantined(self.machine.id, gone)
            log.info("quarantine_forgotten host=%s documents=%d", self.machine.label, len(gone))

    def _write(self, batch: Batch) -> bool:
        """Write a batch without the rows that the database rejects; return whether any is quarantined."""
        try:
            self._writer.write_batch(batch)
        except RowRejected:
            batch = self._without_rejected(batch)
            self._writer.write_batch(batch)
        self.checkpoint = batch.checkpoint
        self.documents_written += len(batch.rows)
        for field in batch.dropped_fields:
            metrics.fields_dropped.labels(self._cluster, field).inc()
        for row in batch.rows:
            metrics.documents_mirrored.labels(**self.metric_labels, type=row.type.value).inc()
        self._report_quarantined(batch.quarantined)
        return bool(batch.quarantined)

    def _without_rejected(self, batch: Batch) -> Batch:
        """The batch without the rows that the database rejects when they are written one by one."""
        accepted: list[DocumentRow] = []
        quarantined = list(batch.quarantined)
        for row in batch.rows:
            try:
                self._writer.write_batch(Batch(self.machine.id, self.checkpoint, None, (row,)))
            except RowRejected as error:
                origin, reason = row.document, f"rejected by the database: {error}"
                quarantined.append(QuarantinedDocument(origin.identity, origin.revision, row.type, reason))
            else:
                accepted.append(row)
        return replace(batch, rows=accepted, quarantined=quarantined)

    def _report_quarantined(self, quarantined: Sequence[QuarantinedDocument]) -> None:
        for document in quarantined:
            log.warning(
                "document_quarantined host=%s type=%s revision=%d reason=%s",
                self.machine.label,
                logging_setup.quote_value(document.document_type),
                document.revision,
                logging_setup.quote_value(document.reason),
            )
        if quarantined:
            metrics.documents_quarantined.labels(**self.metric_labels).inc(len(quarantined))


def _machine_clock(headers: Sequence[KeyedHeader]) -> datetime | None:
    """The machine's own clock: the time of its newest document."""
    latest = datetime.now(UTC) + _MAX_CLOCK_AHEAD
    times = (keyed.header.updated_at for keyed in reversed(headers))
    return next((time for time in times if time is not None and time < latest), None)
