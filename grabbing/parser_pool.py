"""Parser back ends: documents are parsed in the grabber or, during a long catch-up, in separate processes.

Parsing costs more than fetching and writing together, and the GIL confines it to one core per process. Only
speed depends on the processes: if one dies, its share of the work is done in the grabber.

A `ProcessPoolExecutor` would hang at exit after such a death: its queue goes on writing megabytes to a pipe
that nobody reads, as seen with Python 3.11.2 (gh-94777).
"""

import logging
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from grabbing.document_pipeline import DocumentProcessor, ProcessedBatch, WorkItem
from grabbing.gateway_queue import GatewayQueue
from grabbing.parser_process import CONNECTION_LOST, ParserProcess
from grabbing.stop_event import complete

log = logging.getLogger(__name__)

# 50 to 200 ids per request reach DQM²'s full rate (docs/dqm2-protocol.md).
MAX_BATCH = 200
# Parsed documents take ten times their size, and a process keeps most of its peak memory.
_INLINE_BATCH = 40
_MAX_PROCESSES = 2


class ParserBackend(Protocol):
    """Parser of responses to requests for `batch_size` documents each.

    Up to `lookahead` batches are fetched and parsed ahead of the one that is awaited.
    """

    batch_size: int
    lookahead: int

    def submit(self, item: WorkItem) -> Callable[[], ProcessedBatch]:
        """Accept a response; the returned function waits for the result.

        It raises Dqm2InvalidResponse and Stopped.
        """


class InlineParser:
    """Parses in the thread that asks for the result."""

    batch_size = _INLINE_BATCH
    lookahead = 1

    def __init__(self, processor: DocumentProcessor) -> None:
        self._processor = processor

    def submit(self, item: WorkItem) -> Callable[[], ProcessedBatch]:
        """As in ParserBackend."""
        return partial(self._processor.process, item)


class ParserPool:
    """Parses in processes of its own until it is exited; they end with the grabber, however that ends."""

    batch_size = MAX_BATCH

    def __init__(self, processor: DocumentProcessor, gateway: GatewayQueue) -> None:
        self._processor = processor
        self._gateway = gateway
        count = min(_MAX_PROCESSES, os.cpu_count() or 1)
        self.lookahead = count + 1
        self._processes = [ParserProcess(processor) for _ in range(count)]
        self._tasks: queue.SimpleQueue[tuple[WorkItem, Future[ProcessedBatch]] | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        for process in self._processes:
            threading.Thread(target=self._run_tasks, args=(process,), name="parser", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            self._tasks.put(None)
            process.kill()

    def submit(self, item: WorkItem) -> Callable[[], ProcessedBatch]:
        """As in ParserBackend."""
        future: Future[ProcessedBatch] = Future()
        self._tasks.put((item, future))
        return partial(self._gateway.wait_for, future)

    def _run_tasks(self, process: ParserProcess) -> None:
        # While the first documents are fetched: a start takes as long as fetching a few hundred of them.
        try:
            process.start()
        except CONNECTION_LOST as error:
            if process.is_killed:
                return
            _give_up(process, error)
        while (task := self._tasks.get()) is not None:
            item, future = task
            complete(future, partial(self._parse, process, item))

    def _parse(self, process: ParserProcess, item: WorkItem) -> ProcessedBatch:
        if not process.is_dead:
            try:
                return process.parse(item)
            except CONNECTION_LOST as error:
                if process.is_killed:
                    raise
                _give_up(process, error)
        return self._processor.process(item)


def _give_up(process: ParserProcess, error: Exception) -> None:
    process.is_dead = True
    log.warning("parser_process_died reason=%r", error)
