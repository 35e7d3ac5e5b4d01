"""Mirrors one machine: the headers after its checkpoint, then the documents that are new.

Documents come batch by batch, ascending by revision; each batch is written together with the checkpoint that
it reaches. A long catch-up is cut into time slices, so that the other machines are not kept waiting. A
document that cannot be parsed or stored is quarantined with the reason, later ones are mirrored, and it is
retried.
"""

import logging
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from dqm2.errors import Dqm2Failed, Dqm2InvalidResponse
from dqm2.headers import INVALID_TYPE, Header
from dqm2.pseudonyms import Pseudonymizer
from dqm2.records import DocumentType
from grabbing import metrics
from grabbing.backoff import NEVER_S, Backoff
from grabbing.document_fetcher import DocumentFetcher, FetchedBatch
from grabbing.document_pipeline import DocumentProcessor, KeyedHeader
from grabbing.gateway_queue import GatewayQueue
from grabbing.header_fetcher import FetchedHeaders, HeaderFetcher
from grabbing.parser_pool import MAX_BATCH, InlineParser, ParserBackend, ParserPool
from runtime import logging_setup, malloc
from storage.rows import Batch, DocumentRow, QuarantinedDocument
from storage.writer import MirrorWriter, RegisteredMachine, RowRejected

log = logging.getLogger(__name__)

_SLICE_S = 5.0
# Pauses between retries of quarantined documents: the first, and the longest.
_RETRY_PAUSE_S = 60.0
_MAX_RETRY_PAUSE_S = 3600.0
_MAX_RETRIED = 1000
# From so many headers on, parser processes are worth their start.
_MIN_POOL_HEADERS = 1000
# A document time this far in the future comes from a broken clock and is not used as the machine's clock.
_MAX_CLOCK_AHEAD = timedelta(days=1)
# Lower than any stored (epoch, revision).
_NOT_STORED = (-1, -1)
_MIRRORED_TYPES = frozenset((*DocumentType, INVALID_TYPE))

_Slices = Generator[None, None, None]


class MachineSync:
    """Keeps one machine mirrored; `host` is used in requests only, logs and metrics carry the label.

    `behind` is the number of documents known and not mirrored yet. `missing` says what cannot be fetched, and
    why.
    """

    def __init__(
        self,
        gateway: GatewayQueue,
        writer: MirrorWriter,
        processor: DocumentProcessor,
        pseudonyms: Pseudonymizer,
        *,
        host: str,
        machine: RegisteredMachine,
        missing: str | None,
    ) -> None:
        self.machine = machine
        self.behind = 0
        self.missing = missing
        self._gateway = gateway
        self._writer = writer
        self._processor = processor
        self._header_fetcher = HeaderFetcher(gateway, host, machine.label)
        self._document_fetcher = DocumentFetcher(
            gateway, processor, pseudonyms, host=host, label=machine.label
        )
        self._checkpoint = machine.checkpoint
        self._cluster = gateway.cluster.value
        self._labels = {"cluster": self._cluster, "machine": machine.label}
        self._catch_up: _Slices | None = None
        self._started_at_s = 0.0
        self._total = self._written = 0
        self._highest_revision = 0
        self._retry = Backoff(NEVER_S, _RETRY_PAUSE_S, _MAX_RETRY_PAUSE_S)

    def sync_slice(self) -> bool:
        """Mirror what is new, for one time slice; return whether there is more to do at once.

        Raises Dqm2Error if the machine fails, Stopped, LeadershipLost and SQLAlchemyError. Whatever was
        written before stays, and the next call continues from there.
        """
        deadline_s = time.monotonic() + _SLICE_S
        catch_up = self._catch_up or self._start()
        self._catch_up = None
        for _ in catch_up:
            self._gateway.check_in()
            if time.monotonic() > deadline_s:
                self._catch_up = catch_up
                break
        if self._catch_up is None and self._total > MAX_BATCH:
            malloc.return_freed_memory()
        self._report_progress()
        return self._catch_up is not None

    def abandon(self) -> None:
        """Drop an unfinished catch-up: its headers and its parser processes."""
        if self._catch_up is not None:
            self._catch_up.close()
            self._catch_up = None

    def _start(self) -> _Slices:
        self._started_at_s = time.monotonic()
        self._total = self._written = 0
        return self._sync()

    def _sync(self) -> _Slices:
        """Mirror what is new batch by batch, then retry quarantined documents if that is due."""
        headers = self._new_headers()
        self._total = self.behind = len(headers)
        self._highest_revision = headers[-1].revision if headers else self._checkpoint.revision or 0
        with (
            self._parser_backend(len(headers)) as backend,
            closing(self._document_fetcher.batches(headers, self._select_newer, backend)) as batches,
        ):
            for batch in batches:
                self._store(batch)
                yield
        if self._retry.is_due():
            yield from self._retry_quarantined()

    def _parser_backend(self, headers: int) -> AbstractContextManager[ParserBackend]:
        if headers < _MIN_POOL_HEADERS:
            return nullcontext(InlineParser(self._processor))
        return ParserPool(self._processor, self._gateway)

    def _new_headers(self) -> Sequence[Header]:
        """The headers beyond the checkpoint; all of them if the machine's revisions started over."""
        found = self._fetch_headers()
        if self._was_reset(found):
            self._start_epoch()
            found = self._fetch_headers()
        known = self._checkpoint.revision
        if known is None and found.is_complete and found.first_available is None:
            self._forget_gone(self._writer.quarantined_versions(self.machine.id), found.headers)
        if known is None:
            return found.headers
        return self._missed_at(found.headers, known) + [one for one in found.headers if one.revision > known]

    def _missed_at(self, headers: Sequence[Header], known: int) -> list[Header]:
        """The headers of documents that got the checkpoint's revision as well, and are not stored yet."""
        keyed = [self._document_fetcher.keyed(header) for header in headers if header.revision == known]
        others = [one for one in keyed if one.identity != self._checkpoint.last_document]
        return [one.header for one in self._select_newer(others)]

    def _fetch_headers(self) -> FetchedHeaders:
        found = self._header_fetcher.fetch(self._checkpoint.revision)
        if found.first_available is not None:
            self._skip_unavailable(found.first_available, found.unavailable_reason)
        return found

    def _skip_unavailable(self, first_available: int, reason: str) -> None:
        """Report the revisions that cannot be fetched and continue behind them.

        The headers that can be fetched do not show whether the machine was reset. So they count as a new
        epoch, which overwrites whatever is stored.
        """
        known = self._checkpoint.revision
        first_missing = 0 if known is None else known + 1
        if known is not None:
            self._start_epoch()
        self.missing = f"documents of revisions {first_missing} to {first_available - 1}: {reason}"
        log.warning(
            "revisions_unavailable host=%s reason=%s",
            self.machine.label,
            logging_setup.quote_value(self.missing),
        )
        metrics.revisions_unavailable.labels(**self._labels).set(first_available - first_missing)

    def _was_reset(self, found: FetchedHeaders) -> bool:
        """Whether the machine's revisions started over or were assigned again (docs/dqm2-protocol.md)."""
        known = self._checkpoint.revision
        if known is None or self._has_checkpoint(found.headers, known):
            return False
        if not found.is_complete:
            raise Dqm2InvalidResponse("headers are missing or invalid, so they cannot prove a reset")
        return True

    def _has_checkpoint(self, headers: Sequence[Header], known: int) -> bool:
        """Whether the checkpoint's document is unchanged at the known revision, or is at a higher one.

        Another document at the known revision has replaced it, unless both have that revision.
        """
        at_known = [header for header in headers if header.revision == known]
        if at_known:
            return any(self._is_checkpoint(header) and self._is_same_version(header) for header in at_known)
        return any(self._is_checkpoint(header) for header in headers if header.revision > known)

    def _is_checkpoint(self, header: Header) -> bool:
        return self._document_fetcher.keyed(header).identity == self._checkpoint.last_document

    def _is_same_version(self, header: Header) -> bool:
        """Whether the times of header and checkpoint agree, as far as they are known."""
        times = (self._checkpoint.last_document_at, header.updated_at)
        return None in times or times[0] == times[1]

    def _start_epoch(self) -> None:
        checkpoint = self._checkpoint.next_epoch()
        log.warning(
            "revision_reset host=%s epoch=%d after_revision=%s",
            self.machine.label,
            checkpoint.epoch,
            self._checkpoint.revision,
        )
        metrics.revision_resets.labels(**self._labels).inc()
        self._write(Batch(self.machine.id, checkpoint, None, ()))
        self.missing = None
        metrics.revisions_unavailable.labels(**self._labels).set(0)

    def _select_newer(self, keyed: Sequence[KeyedHeader]) -> Sequence[KeyedHeader]:
        """The documents newer than what is stored, of the mirrored types or of a type that is not known."""
        mirrored = [one for one in keyed if one.header.type in _MIRRORED_TYPES]
        stored = self._writer.stored_versions([one.identity for one in mirrored])
        epoch = self._checkpoint.epoch
        return [
            one for one in mirrored if stored.get(one.identity, _NOT_STORED) < (epoch, one.header.revision)
        ]

    def _store(self, batch: FetchedBatch) -> None:
        """Write a batch with the checkpoint that it reaches."""
        last = batch.headers[-1]
        checkpoint = replace(
            self._checkpoint,
            revision=last.header.revision,
            last_document=last.identity,
            last_document_at=last.header.updated_at,
        )
        clock_at = _machine_clock(batch.headers)
        processed = batch.processed
        self._write(
            Batch(
                machine_id=self.machine.id,
                checkpoint=checkpoint,
                clock_at=clock_at,
                rows=processed.rows,
                quarantined=processed.quarantined,
                dropped_fields=processed.dropped_fields,
                is_caught_up=self.behind == len(batch.headers),
            )
        )
        self.behind -= len(batch.headers)
        if clock_at is not None:
            metrics.newest_document_timestamp.labels(**self._labels).set(clock_at.timestamp())

    def _retry_quarantined(self) -> _Slices:
        """Retry quarantined documents: the network may have been at fault, or this release may parse them."""
        revisions = self._quarantined_revisions()
        if not revisions:
            self._retry.succeeded()
            return
        self._retry.failed()
        try:
            headers = self._unchanged_headers(revisions)[-_MAX_RETRIED:]
            backend = InlineParser(self._processor)
            for batch in self._document_fetcher.batches(headers, lambda all_: all_, backend):
                self._store_retried(batch)
                yield
        except (Dqm2Failed, Dqm2InvalidResponse) as error:
            log.info(
                "quarantine_retry_failed host=%s reason=%s",
                self.machine.label,
                logging_setup.quote_value(self._processor.redact(str(error))),
            )

    def _quarantined_revisions(self) -> Mapping[UUID, int]:
        """The revisions of quarantined documents; those of an earlier epoch no longer exist."""
        versions = self._writer.quarantined_versions(self.machine.id)
        return {
            identity: revision
            for identity, (epoch, revision) in versions.items()
            if epoch == self._checkpoint.epoch
        }

    def _unchanged_headers(self, quarantined: Mapping[UUID, int]) -> Sequence[Header]:
        """The headers of quarantined documents that the machine still has in the same version."""
        found = self._header_fetcher.fetch_once(min(quarantined.values()))
        if found.is_complete and self._was_checkpoint_found(found.headers):
            self._forget_gone(quarantined, found.headers)
        keyed = map(self._document_fetcher.keyed, found.headers)
        return [one.header for one in keyed if quarantined.get(one.identity) == one.header.revision]

    def _store_retried(self, batch: FetchedBatch) -> None:
        """Write the documents that can be stored now; the checkpoint stays, and the others in quarantine."""
        self._write(
            Batch(
                machine_id=self.machine.id,
                checkpoint=self._checkpoint,
                clock_at=None,
                rows=batch.processed.rows,
                dropped_fields=batch.processed.dropped_fields,
            )
        )

    def _was_checkpoint_found(self, headers: Sequence[Header]) -> bool:
        """Whether the machine was not reset, so that its headers have every document that it still has."""
        known = self._checkpoint.revision
        return known is not None and self._has_checkpoint(headers, known)

    def _forget_gone(self, quarantined: Mapping[UUID, object], headers: Sequence[Header]) -> None:
        """Forget quarantined documents that a complete response lacks: the machine no longer has them.

        The response begins at or below their revisions; a document that was updated since has a higher one.
        """
        if not quarantined:
            return
        gone = quarantined.keys() - {self._document_fetcher.keyed(header).identity for header in headers}
        if gone:
            self._writer.forget_quarantined(self.machine.id, gone)
            log.info("quarantine_forgotten host=%s documents=%d", self.machine.label, len(gone))

    def _write(self, batch: Batch) -> None:
        """Write a batch; quarantine the rows that the database rejects."""
        try:
            self._writer.write_batch(batch)
        except RowRejected:
            batch = self._without_rejected(batch)
            self._writer.write_batch(batch)
        self._checkpoint = batch.checkpoint
        self._written += len(batch.rows)
        for field in batch.dropped_fields:
            metrics.fields_dropped.labels(self._cluster, field).inc()
        for row in batch.rows:
            metrics.documents_mirrored.labels(**self._labels, type=row.type.value).inc()
        if batch.quarantined:
            self._report_quarantined(batch)

    def _without_rejected(self, batch: Batch) -> Batch:
        """The batch without the rows that the database rejects when they are written one by one."""
        accepted: list[DocumentRow] = []
        quarantined = list(batch.quarantined)
        for row in batch.rows:
            try:
                self._writer.write_batch(Batch(self.machine.id, self._checkpoint, None, (row,)))
            except RowRejected as error:
                origin, reason = row.document, f"rejected by the database: {error}"
                quarantined.append(QuarantinedDocument(origin.identity, origin.revision, row.type, reason))
            else:
                accepted.append(row)
        return replace(batch, rows=accepted, quarantined=quarantined)

    def _report_quarantined(self, batch: Batch) -> None:
        for document in batch.quarantined:
            log.warning(
                "document_quarantined host=%s type=%s revision=%d reason=%s",
                self.machine.label,
                logging_setup.quote_value(document.document_type),
                document.revision,
                logging_setup.quote_value(document.reason),
            )
        metrics.documents_quarantined.labels(**self._labels).inc(len(batch.quarantined))
        self._retry.reset()
        self._retry.failed()

    def _report_progress(self) -> None:
        revision = self._checkpoint.revision or 0
        metrics.revision.labels(**self._labels).set(revision)
        metrics.revision_lag.labels(**self._labels).set(self._highest_revision - revision)
        metrics.documents_behind.labels(**self._labels).set(self.behind)
        metrics.last_sync_timestamp.labels(**self._labels).set_to_current_time()
        seconds = time.monotonic() - self._started_at_s
        if self.behind:
            # A slice ends behind a batch, so that some are done.
            done = self._total - self.behind
            log.info(
                "sync_progress host=%s headers=%d of=%d documents=%d headers_per_s=%.0f remaining_s=%.0f",
                self.machine.label,
                done,
                self._total,
                self._written,
                done / seconds,
                seconds / done * self.behind,
            )
        elif self._catch_up is None and self._written:
            log.info(
                "machine_synced host=%s documents=%d revision=%s seconds=%.2f",
                self.machine.label,
                self._written,
                self._checkpoint.revision,
                seconds,
            )


def _machine_clock(headers: Sequence[KeyedHeader]) -> datetime | None:
    """The machine's own clock: the time of its newest document."""
    latest = datetime.now(UTC) + _MAX_CLOCK_AHEAD
    times = (keyed.header.updated_at for keyed in reversed(headers))
    return next((time for time in times if time is not None and time < latest), None)
