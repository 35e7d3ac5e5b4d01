"""Retries of a machine's quarantined documents.

The network may have been at fault, or this release may parse them. The pauses grow until another document is
quarantined.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from dqm2.errors import Dqm2Failed, Dqm2InvalidResponse
from dqm2.headers import Header
from grabbing.backoff import NEVER_S, Backoff
from grabbing.change_feed import has_checkpoint
from grabbing.document_fetcher import DocumentFetcher
from grabbing.document_pipeline import DocumentProcessor
from grabbing.header_fetcher import HeaderFetcher
from grabbing.machine_writer import MachineWriter
from grabbing.parser_pool import InlineParser
from runtime import logging_setup

log = logging.getLogger(__name__)

# Pauses between retries: the first, and the longest.
_FIRST_PAUSE_S = 60.0
_MAX_PAUSE_S = 3600.0
_MAX_RETRIED = 1000


class QuarantineRetry:
    """Retries the quarantined documents of one machine, as long as it has any."""

    def __init__(
        self,
        headers: HeaderFetcher,
        documents: DocumentFetcher,
        writer: MachineWriter,
        processor: DocumentProcessor,
    ) -> None:
        self._headers = headers
        self._documents = documents
        self._writer = writer
        self._processor = processor
        self._backoff = Backoff(NEVER_S, _FIRST_PAUSE_S, _MAX_PAUSE_S)

    def schedule(self) -> None:
        """Schedule the first retry of a document that was just quarantined."""
        self._backoff.reset()
        self._backoff.failed()

    def run_if_due(self) -> Iterator[None]:
        """Retry the documents batch by batch if that is due; a failure of the machine ends the attempt."""
        if not self._backoff.is_due():
            return
        revisions = self._quarantined_revisions()
        if not revisions:
            self._backoff.succeeded()
            return
        self._backoff.failed()
        try:
            headers = self._unchanged_headers(revisions)[-_MAX_RETRIED:]
            backend = InlineParser(self._processor)
            for batch in self._documents.batches(headers, lambda all_: all_, backend):
                if self._writer.store_retried(batch):
                    self.schedule()
                yield
        except (Dqm2Failed, Dqm2InvalidResponse) as error:
            log.info(
                "quarantine_retry_failed host=%s reason=%s",
                self._writer.machine.label,
                logging_setup.quote_value(self._processor.redact(str(error))),
            )

    def _quarantined_revisions(self) -> Mapping[UUID, int]:
        """The revisions of quarantined documents; those of an earlier epoch no longer exist."""
        return {
            identity: revision
            for identity, (epoch, revision) in self._writer.quarantined_versions().items()
            if epoch == self._writer.checkpoint.epoch
        }

    def _unchanged_headers(self, quarantined: Mapping[UUID, int]) -> Sequence[Header]:
        """The headers of quarantined documents that the machine still has in the same version."""
        found = self._headers.fetch_once(min(quarantined.values()))
        keyed = [self._documents.keyed(header) for header in found.headers]
        # Unless the machine was reset, the headers list every document that it still has.
        if found.is_complete and has_checkpoint(
            found.headers, self._writer.checkpoint, self._documents.keyed
        ):
            self._writer.forget_gone(quarantined, [one.identity for one in keyed])
        return [one.header for one in keyed if quarantined.get(one.identity) == one.header.revision]
