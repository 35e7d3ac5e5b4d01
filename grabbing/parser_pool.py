"""Processes that sift beside the grabber while it has much to catch up with.

Sifting costs more than fetching and writing together, and Python does one thing at a time in a process. A
process of these is spoken to through a socket alone and ends when that closes, so that none outlives its
grabber, however that ends. If one is killed, what it had in hand is sifted in the grabber: nothing depends
on them but speed.

    python -m grabbing.parser_pool DESCRIPTOR    is such a process; DESCRIPTOR is its end of the socket
    dqmsquare_mirror parse-worker DESCRIPTOR       the same, of the one executable
"""

import logging
import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Self

from dqm2.errors import Dqm2InvalidResponse
from grabbing.document_pipeline import Order, Rules, Sifted, Sifter
from grabbing.gateway_queue import settle
from runtime import malloc

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parent.parent
# What Python runs; the executable is not Python, but one program for all parts.
_PROGRAM = ("parse-worker",) if getattr(sys, "frozen", False) else ("-m", "grabbing.parser_pool")
# A catch-up takes what processors others leave it: the grabber itself, PostgreSQL, and the web server beside.
_GIVES_WAY = 10
# What a socket says when the process at its other end is gone.
_GONE = (EOFError, OSError)


class Sifters:
    """Sifts orders in processes of its own while it is entered; `sifter` takes over where one is gone."""

    def __init__(self, sifter: Sifter, rules: Rules, processes: int) -> None:
        self._sifter = sifter
        self._processes = [_Process(rules) for _ in range(processes)]
        self._orders: queue.SimpleQueue[tuple[Order, Future[Sifted]] | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        for process in self._processes:
            threading.Thread(target=self._work, args=(process,), name="sifter", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            self._orders.put(None)
            process.end()

    def put(self, order: Order) -> "Future[Sifted]":
        """What comes of an order, which may be an error of `Sifter.sift`; orders are begun in turn."""
        future: Future[Sifted] = Future()
        self._orders.put((order, future))
        return future

    def _work(self, process: "_Process") -> None:
        while (work := self._orders.get()) is not None:
            order, future = work
            settle(future, partial(self._sift, process, order))

    def _sift(self, process: "_Process", order: Order) -> Sifted:
        if not process.is_gone:
            try:
                return process.sift(order)
            except _GONE as error:
                if process.is_ended:
                    raise
                process.is_gone = True
                log.warning("a sifting process is gone, its work is done here reason=%r", error)
        return self._sifter.sift(order)


class _Process:
    """A process that sifts one order at a time; it is started with the first."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self.is_gone = False
        self.is_ended = False

    def sift(self, order: Order) -> Sifted:
        """Sifts an order there. Raises an error of `Sifter.sift`, or EOFError or OSError if it is gone."""
        connection = self._connection or self._start()
        _send(connection, order)
        outcome: Sifted | Dqm2InvalidResponse = connection.recv()
        if isinstance(outcome, Dqm2InvalidResponse):
            raise outcome
        return outcome

    def end(self) -> None:
        """Ends it, whatever it has in hand; it is not started again."""
        with self._lock:
            self.is_ended = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def _start(self) -> Connection:
        with self._lock:
            if self.is_ended:
                raise EOFError
            connection, far_end = Pipe()
            with far_end:
                self._process = subprocess.Popen(  # noqa: S603 - an argument list of our own, no shell
                    [sys.executable, *_PROGRAM, str(far_end.fileno())],
                    cwd=_ROOT,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[far_end.fileno()],
                )
            self._connection = connection
        connection.send(self._rules)
        return connection


def main(arguments: list[str] | None = None) -> int:
    """Sifts what comes through the socket that the one argument names, until that closes."""
    (descriptor,) = sys.argv[1:] if arguments is None else arguments
    malloc.keep()
    os.nice(_GIVES_WAY)
    with Connection(int(descriptor)) as connection:
        try:
            sifter = Sifter(connection.recv())
            while True:
                connection.send(_outcome(sifter, _received(connection)))
        except _GONE:
            return 0


def _send(connection: Connection, order: Order) -> None:
    """Sends an order, its answer as it came behind the rest: that is megabytes, which pickling would copy."""
    connection.send(replace(order, answer=b""))
    connection.send_bytes(order.answer)


def _received(connection: Connection) -> Order:
    order: Order = connection.recv()
    return replace(order, answer=connection.recv_bytes())


def _outcome(sifter: Sifter, order: Order) -> Sifted | Dqm2InvalidResponse:
    try:
        return sifter.sift(order)
    except Dqm2InvalidResponse as error:
        return error


if __name__ == "__main__":
    sys.exit(main())
