"""Fetches a machine's documents batch by batch, ascending by revision.

While one batch is written, the next are fetched and parsed. A batch without a valid response is requested
again in halves until the bad document is alone; that one is quarantined, provided that other
requests for documents succeed. If failures go on, the machine counts as failing.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from dqm2.errors import Dqm2Failed, Dqm2InvalidResponse
from dqm2.headers import Header
from dqm2.pseudonyms import Pseudonymizer
from dqm2.sync_messages import parse_documents
from grabbing.document_pipeline import DocumentProcessor, KeyedHeader, ProcessedBatch, WorkItem
from grabbing.gateway_queue import GatewayQueue
from grabbing.parser_pool import MAX_BATCH, ParserBackend

# The smallest batch that reaches DQM²'s full rate (docs/dqm2-protocol.md).
_MIN_FULL_RATE_BATCH = 50
# Failures in a row and seconds after which the machine counts as failing: enough to isolate one document, and
# no longer than the other machines can wait.
_MAX_FAILURES = 10
_MAX_FAILING_S = 5.0
# An id of no document: requested to prove that requests for documents succeed.
_PROBE_ID = "no-document-has-this-id"

# Selects the headers whose documents are to be fetched.
Select = Callable[[Sequence[KeyedHeader]], Sequence[KeyedHeader]]


@dataclass(frozen=True, slots=True)
class FetchedBatch:
    """Consecutive headers, and the documents of those that were selected."""

    headers: Sequence[KeyedHeader]
    processed: ProcessedBatch


@dataclass(frozen=True, slots=True)
class _PendingBatch:
    headers: Sequence[KeyedHeader]
    response: "Future[Callable[[], ProcessedBatch]] | None"


class DocumentFetcher:
    """Fetches documents of one machine; the batch size adapts to the failures."""

    def __init__(
        self,
        gateway: GatewayQueue,
        processor: DocumentProcessor,
        pseudonyms: Pseudonymizer,
        *,
        host: str,
        label: str,
    ) -> None:
        self._gateway = gateway
        self._processor = processor
        self._pseudonyms = pseudonyms
        self._host = host
        self._label = label
        self._batch_size = MAX_BATCH

    def keyed(self, header: Header) -> KeyedHeader:
        """A header with the pseudonym of its document."""
        return KeyedHeader(header, self._pseudonyms.for_document(self._host, header.id))

    def batches(
        self, headers: Sequence[Header], select: Select, backend: ParserBackend
    ) -> Generator[FetchedBatch, None, None]:
        """Yield the headers batch by batch with the documents of those that `select` returns.

        Raises Dqm2Error when the machine or the gateway fails; batches that were yielded stay valid.
        """
        failures = FailureBudget()
        with closing(_Window(headers, backend.lookahead)) as window:
            request = partial(self._request, select, backend)
            while batch := window.next(min(self._batch_size, backend.batch_size), request):
                try:
                    processed = self._result(batch)
                except (Dqm2Failed, Dqm2InvalidResponse) as error:
                    window.cancel()
                    self._batch_size = max(1, len(batch.headers) // 2)
                    failures.spend(error)
                    if len(batch.headers) > 1:
                        continue
                    processed = self._isolate_bad_document(batch, error)
                else:
                    self._batch_size = min(MAX_BATCH, 2 * self._batch_size)
                    failures.reset()
                window.settle(batch)
                yield FetchedBatch(batch.headers, processed)

    def _request(self, select: Select, backend: ParserBackend, headers: Sequence[Header]) -> _PendingBatch:
        keyed = [self.keyed(header) for header in headers]
        selected = select(keyed)
        if not selected:
            return _PendingBatch(keyed, None)
        response = self._gateway.request_documents(
            self._host,
            self._label,
            [one.header.id for one in selected],
            lambda answer: backend.submit(WorkItem(selected, answer, self._processor.dictionary)),
        )
        return _PendingBatch(keyed, response)

    def _result(self, batch: _PendingBatch) -> ProcessedBatch:
        if batch.response is None:
            return ProcessedBatch()
        return self._gateway.wait_for(batch.response)()

    def _isolate_bad_document(self, batch: _PendingBatch, error: Exception) -> ProcessedBatch:
        """Quarantine a batch of one document, if another request for documents gets a valid response.

        Raises that request's Dqm2Error otherwise.
        """
        self._gateway.wait_for(
            self._gateway.request_documents(
                self._host, self._label, [_PROBE_ID], partial(parse_documents, requested_ids=())
            )
        )
        reason = self._processor.redact(f"no valid response: {error}")
        return ProcessedBatch(quarantined=[keyed.quarantined(reason) for keyed in batch.headers])


class FailureBudget:
    """Limit on the number and the duration of failures in a row."""

    def __init__(self) -> None:
        self._failures = 0
        self._failing_since_s = 0.0

    def spend(self, error: Exception) -> None:
        """Count a failure; raise it once there are too many."""
        now_s = time.monotonic()
        if self._failures == 0:
            self._failing_since_s = now_s
        self._failures += 1
        if self._failures > _MAX_FAILURES or now_s - self._failing_since_s > _MAX_FAILING_S:
            raise error

    def reset(self) -> None:
        """Start over after a success."""
        self._failures = 0


class _Window:
    """Sliding window of the batches that are in flight."""

    def __init__(self, headers: Sequence[Header], lookahead: int) -> None:
        self._headers = headers
        self._lookahead = lookahead
        self._in_flight: deque[_PendingBatch] = deque()
        self._requested = self._settled = 0

    def next(
        self, batch_size: int, request: Callable[[Sequence[Header]], _PendingBatch]
    ) -> _PendingBatch | None:
        """Fill the window and return its first batch; `None` at the end."""
        while self._requested < len(self._headers) and len(self._in_flight) <= self._lookahead:
            remaining = len(self._headers) - self._requested
            # The last batches are smaller: nothing runs in parallel to the parsing of the very last one.
            size = min(batch_size, max(_MIN_FULL_RATE_BATCH, remaining // 2))
            batch = self._headers[self._requested : self._requested + size]
            self._in_flight.append(request(batch))
            self._requested += len(batch)
        return self._in_flight.popleft() if self._in_flight else None

    def settle(self, batch: _PendingBatch) -> None:
        """Move past a batch; if the window was cancelled, the next request starts behind it."""
        self._settled += len(batch.headers)
        self._requested = max(self._requested, self._settled)

    def cancel(self) -> None:
        """Drop the batches in flight; they are requested again."""
        for batch in self._in_flight:
            if batch.response is not None:
                batch.response.cancel()
        self._in_flight.clear()
        self._requested = self._settled

    close = cancel
