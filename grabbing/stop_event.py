"""Stop request of the program, by a signal or by itself, and futures that threads complete."""

import logging
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class Stopped(Exception):
    """Raised by a wait when the program is asked to stop."""


class StopEvent:
    """Stop request: set once; any thread can wait on it, alone or together with a future."""

    def __init__(self) -> None:
        self._requested: Future[None] = Future()
        self._lock = threading.Lock()

    def set(self) -> None:
        """Request the stop."""
        with self._lock:
            if not self._requested.done():
                self._requested.set_result(None)

    @property
    def is_set(self) -> bool:
        """Whether the stop has been requested."""
        return self._requested.done()

    def wait(self, timeout_s: float) -> bool:
        """Wait for at most `timeout_s`; return whether the stop has been requested."""
        return bool(wait([self._requested], timeout_s).done)

    def wait_or_done(self, future: Future[T], timeout_s: float | None) -> None:
        """Wait until `future` is done, the stop is requested, or `timeout_s` has passed."""
        either: list[Future[Any]] = [self._requested, future]
        wait(either, timeout_s, return_when=FIRST_COMPLETED)


def stop_on_signals() -> StopEvent:
    """Stop event that SIGTERM, SIGINT and SIGHUP set; a thread waits for them: no code is interrupted.

    The other threads block them. The wake-up descriptor also receives a signal that another thread takes:
    one that starts a process unblocks both for a moment (`runtime/spawn.py`).
    """
    signals = [signal.SIGTERM, signal.SIGINT]
    # The terminal has ended. Under nohup it is ignored.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    received, wake_up = socket.socketpair()
    # As set_wakeup_fd requires.
    wake_up.settimeout(0)
    signal.set_wakeup_fd(wake_up.detach())
    for number in signals:
        signal.signal(number, lambda *_: None)
    stop = StopEvent()

    def wait_for_signal() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        # Also those that follow: a wake-up descriptor that nobody reads makes Python print a traceback.
        while True:
            [number] = received.recv(1)
            log.info("stop_requested signal=%s", signal.Signals(number).name)
            stop.set()

    threading.Thread(target=wait_for_signal, name="signals", daemon=True).start()
    return stop


def complete(future: "Future[T]", work: Callable[[], T]) -> None:
    """Run `work` and put its result or error into `future`, unless that was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
        future.set_exception(error)
