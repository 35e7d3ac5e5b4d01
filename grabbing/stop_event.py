"""Stop request of the program, and futures that threads complete."""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

T = TypeVar("T")


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


def complete(future: "Future[T]", work: Callable[[], T]) -> None:
    """Run `work` and put its result or error into `future`, unless that was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
        future.set_exception(error)
