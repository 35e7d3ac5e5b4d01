"""Process that hands one message to apprise; it lives no longer than `TIMEOUT_S`.

A hanging receiver thus delays nobody. The process imports this module, which therefore imports little, and
apprise, which the grabber does not.
"""

import importlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection

from config.receivers import Receiver
from runtime.signal_mask import unchanged_signal_mask

TIMEOUT_S = 30.0
TIMED_OUT = f"no answer within {TIMEOUT_S:.0f} s"
DIED = "the sending process ended"
# Imported by the process alone; dqmsquare_deploy.sh lists it for PyInstaller.
MODULE = "grabbing.apprise_sender"
_NICENESS = 5


class SenderProcess:
    """A message, title and body, on its way to a receiver; without a message, its URL is checked."""

    def __init__(self, receiver: Receiver, message: tuple[str, str] | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, remote = context.Pipe(duplex=False)
        arguments = (remote, receiver.url, message)
        self._process = context.Process(target=_run, args=arguments, daemon=True)
        with remote, unchanged_signal_mask():
            self._process.start()
        self._deadline_s = time.monotonic() + TIMEOUT_S

    @property
    def is_done(self) -> bool:
        """Whether there is a result."""
        return self._connection.poll() or time.monotonic() >= self._deadline_s

    def result(self) -> str | None:
        """Wait for the result: `None` if the message was delivered, else the reason why not."""
        try:
            if not self._connection.poll(max(0.0, self._deadline_s - time.monotonic())):
                return TIMED_OUT
            reason: str | None = self._connection.recv()
        except (EOFError, OSError):
            return DIED
        else:
            return reason
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._connection.close()


def refused_receivers(receivers: Iterable[Receiver]) -> Iterator[tuple[Receiver, str]]:
    """Receivers whose URL apprise refuses, with its reason; a check that can't be made refuses none."""
    for receiver in receivers:
        reason = SenderProcess(receiver, None).result()
        if reason not in (None, TIMED_OUT, DIED):
            yield receiver, reason


def _run(connection: Connection, url: str, message: tuple[str, str] | None) -> None:
    """Deliver a message, or check the URL without one, and send the reason for a failure back."""
    os.nice(_NICENESS)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sender = importlib.import_module(MODULE)
    sender.silence()
    with connection:
        connection.send(sender.check(url) if message is None else sender.deliver(url, *message))
