"""Waiting for a condition that another thread, process or browser fulfils, instead of for a time."""

import threading
import time
from collections.abc import Callable

# For whatever a test waits for: on a loaded machine everything takes long, and a failure may take its time.
TIMEOUT_S = 120.0
# Pauses between checks grow from the first to the longest: most conditions are fulfilled soon.
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05


def until(is_fulfilled: Callable[[], object]) -> None:
    """Wait until a condition is fulfilled. Raises AssertionError if it is not in time."""
    deadline_s = time.monotonic() + TIMEOUT_S
    pause = threading.Event()
    pause_s = _FIRST_PAUSE_S
    while not is_fulfilled():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"the condition was not fulfilled within {TIMEOUT_S:.0f} s")
        pause.wait(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
