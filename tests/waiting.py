"""Waiting for what another thread, process or browser is to bring about: a condition, never a time."""

import threading
import time
from collections.abc import Callable

_LOOK_EVERY_S = 0.05


def until(holds: Callable[[], object], *, within_s: float = 30.0) -> None:
    """Waits until a condition holds. Raises AssertionError if it doesn't in time."""
    ends_s = time.monotonic() + within_s
    pause = threading.Event()
    while not holds():
        if time.monotonic() > ends_s:
            raise AssertionError(f"did not come to hold within {within_s:.0f} s")
        pause.wait(_LOOK_EVERY_S)
