"""Processes that hand a message to apprise or check URLs with it; none lives longer than `TIMEOUT_S`.

A hanging receiver thus delays nobody. The processes import this module, which therefore imports little, and
apprise, which the grabber does not.
"""

import importlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from typing import Any

from config.receivers import Receiver
from runtime import spawn

TIMEOUT_S = 30.0
TIMED_OUT = f"no answer within {TIMEOUT_S:.0f} s"
DIED = "the sending process ended"
# Imported by the processes alone; dqmsquare_deploy.sh lists it for PyInstaller.
MODULE = "grabbing.apprise_sender"
_NICENESS = 5


class _AppriseProcess:
    """Process that runs a function of this module, which sends results back."""

    def __init__(self, run: Callable[..., None], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, remote = context.Pipe(duplex=False)
        self._process = context.Process(target=run, args=(remote, *arguments), daemon=True)
        with remote:
            spawn.start(self._process)
        self._deadline_s = time.monotonic() + TIMEOUT_S

    @property
    def is_done(self) -> bool:
        """Whether there is a result."""
        return self._connection.poll() or time.monotonic() >= self._deadline_s

    def receive(self) -> str | None:
        """Wait for the next result; `TIMED_OUT` or `DIED` if there is none."""
        try:
            if not self._connection.poll(max(0.0, self._deadline_s - time.monotonic())):
                return TIMED_OUT
            reason: str | None = self._connection.recv()
        except (EOFError, OSError):
            return DIED
        return reason

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._connection.close()


class SenderProcess:
    """A message, title and body, on its way to a receiver."""

    def __init__(self, receiver: Receiver, message: tuple[str, str]) -> None:
        self._process = _AppriseProcess(_deliver, receiver.url, message)
        self._has_result = False
        self._reason: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether there is a result."""
        return self._has_result or self._process.is_done

    def result(self) -> str | None:
        """Wait for the result: `None` if the message was delivered, else the reason why not.

        It is the same at each call: recording it may take several attempts.
        """
        if not self._has_result:
            with closing(self._process):
                self._reason = self._process.receive()
            self._has_result = True
        return self._reason


def refused_receivers(receivers: Sequence[Receiver]) -> Iterator[tuple[Receiver, str]]:
    """Receivers whose URL apprise refuses, with its reason; a check that can't be made refuses none."""
    if not receivers:
        return
    with closing(_AppriseProcess(_check, [receiver.url for receiver in receivers])) as process:
        for receiver in receivers:
            reason = process.receive()
            if reason in (TIMED_OUT, DIED):
                return
            if reason is not None:
                yield receiver, reason


def _deliver(connection: Connection, url: str, message: tuple[str, str]) -> None:
    """Deliver a message, and send the reason for a failure back."""
    sender = _load_sender()
    with connection:
        connection.send(sender.deliver(url, *message))


def _check(connection: Connection, urls: Iterable[str]) -> None:
    """Check URLs, and send the reason for the refusal of each back."""
    sender = _load_sender()
    with connection:
        for url in urls:
            connection.send(sender.check(url))


def _load_sender() -> Any:
    """The module that imports apprise, in a process prepared for it."""
    os.nice(_NICENESS)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sender = importlib.import_module(MODULE)
    sender.silence()
    return sender
