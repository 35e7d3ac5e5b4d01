"""Mirrors one machine: the headers after its checkpoint, then the documents that are new.

Documents come batch by batch, ascending by revision; each batch is written together with the checkpoint that
it reaches. A long catch-up is cut into time slices, so that the other machines are not kept waiting. A
document that cannot be parsed or stored is quarantined with the reason, later ones are mirrored, and it is
retried.
"""

import logging
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, nullcontext

from dqm2.pseudonyms import Pseudonymizer
from grabbing import metrics
from grabbing.change_feed import ChangeFeed
from grabbing.document_fetcher import DocumentFetcher, FetchedBatch
from grabbing.document_pipeline import DocumentProcessor
from grabbing.gateway_queue import GatewayQueue
from grabbing.header_fetcher import HeaderFetcher
from grabbing.machine_writer import MachineWriter
from grabbing.parser_pool import MAX_BATCH, InlineParser, ParserBackend, ParserPool
from grabbing.quarantine_retry import QuarantineRetry
from runtime import malloc
from storage.writer import MirrorWriter, RegisteredMachine

log = logging.getLogger(__name__)

_SLICE_S = 5.0
# From so many headers on, parser processes are worth their start.
_MIN_POOL_HEADERS = 1000

_Slices = Generator[None, None, None]


class MachineSync:
    """Keeps one machine mirrored; `host` is used in requests only, logs and metrics carry the label.

    `behind` is the number of documents known and not mirrored yet.
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
        self._gateway = gateway
        self._processor = processor
        self._writer = MachineWriter(writer, machine, gateway.cluster)
        self._documents = DocumentFetcher(gateway, processor, pseudonyms, host=host, label=machine.label)
        headers = HeaderFetcher(gateway, host, machine.label)
        self._feed = ChangeFeed(headers, self._documents.keyed, self._writer, missing)
        self._quarantine = QuarantineRetry(headers, self._documents, self._writer, processor)
        self._catch_up: _Slices | None = None
        self._started_at_s = 0.0
        self._total = self._written_before = 0
        self._highest_revision = 0

    @property
    def missing(self) -> str | None:
        """The documents that cannot be fetched, and the reason."""
        return self._feed.missing

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
        self._total, self._written_before = 0, self._writer.documents_written
        return self._sync()

    def _sync(self) -> _Slices:
        """Mirror what is new batch by batch, then retry quarantined documents if that is due."""
        headers = self._feed.new_headers()
        self._total = self.behind = len(headers)
        self._highest_revision = headers[-1].revision if headers else self._writer.checkpoint.revision or 0
        with (
            self._parser_backend(len(headers)) as backend,
            closing(self._documents.batches(headers, self._writer.select_newer, backend)) as batches,
        ):
            for batch in batches:
                self._store(batch)
                yield
        yield from self._quarantine.run_if_due()

    def _parser_backend(self, headers: int) -> AbstractContextManager[ParserBackend]:
        if headers < _MIN_POOL_HEADERS:
            return nullcontext(InlineParser(self._processor))
        return ParserPool(self._processor, self._gateway)

    def _store(self, batch: FetchedBatch) -> None:
        behind = self.behind - len(batch.headers)
        if self._writer.store(batch, is_caught_up=behind == 0):
            self._quarantine.schedule()
        self.behind = behind

    def _report_progress(self) -> None:
        labels = self._writer.metric_labels
        revision = self._writer.checkpoint.revision
        metrics.revision.labels(**labels).set(revision or 0)
        metrics.revision_lag.labels(**labels).set(self._highest_revision - (revision or 0))
        metrics.documents_behind.labels(**labels).set(self.behind)
        metrics.last_sync_timestamp.labels(**labels).set_to_current_time()
        seconds = time.monotonic() - self._started_at_s
        written = self._writer.documents_written - self._written_before
        if self.behind:
            # A slice ends behind a batch, so that some are done.
            done = self._total - self.behind
            log.info(
                "sync_progress host=%s headers=%d of=%d documents=%d headers_per_s=%.0f remaining_s=%.0f",
                self.machine.label,
                done,
                self._total,
                written,
                done / seconds,
                seconds / done * self.behind,
            )
        elif self._catch_up is None and written:
            log.info(
                "machine_synced host=%s documents=%d revision=%s seconds=%.2f",
                self.machine.label,
                written,
                revision,
                seconds,
            )
