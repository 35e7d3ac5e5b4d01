"""Parsing of documents in separate processes.

They import this module and what it imports, and no library of the database or of the network: with those,
their start takes four times as long, and 30 MB more.
"""

import gc
import multiprocessing
import os
import threading
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from dqm2.errors import Dqm2InvalidResponse
from grabbing.document_pipeline import DocumentProcessor, ProcessedBatch, WorkItem
from runtime import malloc, spawn

# Objects made between two searches for cycles: those of a few hundred documents.
_GC_THRESHOLD = 50_000
# A catch-up leaves the processors to the grabber itself, PostgreSQL and the web server.
_NICENESS = 10
# Errors of a connection whose other process is dead.
CONNECTION_LOST = (EOFError, OSError)


class ParserProcess:
    """Process that parses one item at a time."""

    def __init__(self, processor: DocumentProcessor) -> None:
        self.is_dead = self.is_killed = False
        self._lock = threading.Lock()
        context = multiprocessing.get_context("spawn")
        self._connection, self._remote_connection = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._remote_connection, processor), daemon=True)

    def start(self) -> None:
        """Start the process. Raises OSError if that fails, and EOFError if it was killed before."""
        with self._lock, self._remote_connection:
            if self.is_killed:
                raise EOFError
            spawn.start(self._process)

    def parse(self, item: WorkItem) -> ProcessedBatch:
        """Parse an item in the process.

        Raises Dqm2InvalidResponse, and EOFError or OSError if the process is dead.
        """
        _send_item(self._connection, item)
        result: ProcessedBatch | Dqm2InvalidResponse = self._connection.recv()
        if isinstance(result, Dqm2InvalidResponse):
            raise result
        return result

    def kill(self) -> None:
        """Kill the process, whatever it is doing; it is not started again."""
        with self._lock:
            self.is_killed = True
            if self._process.pid is not None:
                self._process.kill()
                self._process.join()


def _serve(connection: Connection, processor: DocumentProcessor) -> None:
    """Parse what arrives on the connection until the grabber closes it or dies."""
    # The process lives briefly and needs the memory again at once: page faults would cost it 0.15 ms per
    # document, 7 % of its time.
    malloc.keep_freed_memory()
    # Parsing makes no cycles, and the search for them takes 3 % of the time.
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    os.nice(_NICENESS)
    with connection, suppress(*CONNECTION_LOST):
        while True:
            connection.send(_result(processor, _receive_item(connection)))


def _send_item(connection: Connection, item: WorkItem) -> None:
    """Send an item, its response as raw bytes: pickling that costs 0.16 ms per document, 6 % of the CPU."""
    connection.send(replace(item, response=b""))
    connection.send_bytes(item.response)


def _receive_item(connection: Connection) -> WorkItem:
    item: WorkItem = connection.recv()
    return replace(item, response=connection.recv_bytes())


def _result(processor: DocumentProcessor, item: WorkItem) -> ProcessedBatch | Dqm2InvalidResponse:
    try:
        return processor.process(item)
    except Dqm2InvalidResponse as error:
        return error
