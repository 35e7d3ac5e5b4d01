"""Change feed of a machine: the headers after its checkpoint, across resets of its revisions."""

import logging
from collections.abc import Callable, Sequence

from dqm2.errors import Dqm2InvalidResponse
from dqm2.headers import Header
from grabbing import metrics
from grabbing.document_pipeline import KeyedHeader
from grabbing.header_fetcher import FetchedHeaders, HeaderFetcher
from grabbing.machine_writer import MachineWriter
from runtime import logging_setup
from storage.rows import Checkpoint

log = logging.getLogger(__name__)

KeyHeader = Callable[[Header], KeyedHeader]


class ChangeFeed:
    """The headers that follow the checkpoint of `writer`; a reset of the machine begins its next epoch.

    `missing` says what cannot be fetched, and why.
    """

    def __init__(
        self, fetcher: HeaderFetcher, keyed: KeyHeader, writer: MachineWriter, missing: str | None
    ) -> None:
        self.missing = missing
        self._fetcher = fetcher
        self._keyed = keyed
        self._writer = writer

    def new_headers(self) -> Sequence[Header]:
        """The headers beyond the checkpoint; all of them if the machine's revisions started over."""
        found = self._fetch()
        if self._was_reset(found):
            self._start_epoch()
            found = self._fetch()
        known = self._writer.checkpoint.revision
        if known is not None:
            later = [header for header in found.headers if header.revision > known]
            return self._missed_at(found.headers, known) + later
        if found.is_complete and found.first_available is None:
            listed = (self._keyed(header).identity for header in found.headers)
            self._writer.forget_gone(self._writer.quarantined_versions(), listed)
        return found.headers

    def _missed_at(self, headers: Sequence[Header], known: int) -> list[Header]:
        """The headers of documents that got the checkpoint's revision as well, and are not stored yet."""
        keyed = [self._keyed(header) for header in headers if header.revision == known]
        others = [one for one in keyed if one.identity != self._writer.checkpoint.last_document]
        return [one.header for one in self._writer.select_newer(others)]

    def _fetch(self) -> FetchedHeaders:
        found = self._fetcher.fetch(self._writer.checkpoint.revision)
        if found.first_available is not None:
            self._skip_unavailable(found.first_available, found.unavailable_reason)
        return found

    def _skip_unavailable(self, first_available: int, reason: str) -> None:
        """Report the revisions that cannot be fetched and continue behind them.

        The headers that can be fetched do not show whether the machine was reset. So they count as a new
        epoch, which overwrites whatever is stored.
        """
        known = self._writer.checkpoint.revision
        first_missing = 0 if known is None else known + 1
        if known is not None:
            self._start_epoch()
        self.missing = f"documents of revisions {first_missing} to {first_available - 1}: {reason}"
        log.warning(
            "revisions_unavailable host=%s reason=%s",
            self._writer.machine.label,
            logging_setup.quote_value(self.missing),
        )
        self._set_unavailable(first_available - first_missing)

    def _was_reset(self, found: FetchedHeaders) -> bool:
        """Whether the machine's revisions started over or were assigned again (docs/dqm2-protocol.md)."""
        checkpoint = self._writer.checkpoint
        if checkpoint.revision is None or has_checkpoint(found.headers, checkpoint, self._keyed):
            return False
        if not found.is_complete:
            raise Dqm2InvalidResponse("headers are missing or invalid, so they cannot prove a reset")
        return True

    def _start_epoch(self) -> None:
        self._writer.start_epoch()
        self.missing = None
        self._set_unavailable(0)

    def _set_unavailable(self, revisions: int) -> None:
        metrics.revisions_unavailable.labels(**self._writer.metric_labels).set(revisions)


def has_checkpoint(headers: Sequence[Header], checkpoint: Checkpoint, keyed: KeyHeader) -> bool:
    """Whether headers from the checkpoint's revision on prove that the machine was not reset since.

    They do if the checkpoint's document is unchanged at that revision, or is at a higher one. A different
    document at that revision has replaced it, unless both have the revision.
    """
    known = checkpoint.revision
    at_known = [header for header in headers if header.revision == known]
    if at_known:
        return any(
            keyed(header).identity == checkpoint.last_document and _is_same_version(header, checkpoint)
            for header in at_known
        )
    return any(
        keyed(header).identity == checkpoint.last_document
        for header in headers
        if known is not None and header.revision > known
    )


def _is_same_version(header: Header, checkpoint: Checkpoint) -> bool:
    """Whether the times of header and checkpoint agree, as far as they are known."""
    times = (checkpoint.last_document_at, header.updated_at)
    return None in times or times[0] == times[1]
