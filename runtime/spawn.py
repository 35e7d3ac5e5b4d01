"""Start of child processes by `multiprocessing`, which import no more than what they run."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import ModuleType

_lock = threading.Lock()


def start(process: BaseProcess) -> None:
    """Start a process that imports neither the main module of this program nor all that it imports.

    `multiprocessing` has it import that in case an argument is of one of its types. No argument may be.
    Raises OSError.
    """
    with _lock, _hidden_main_module(), _unchanged_signal_mask():
        process.start()


@contextmanager
def _hidden_main_module() -> Iterator[None]:
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _unchanged_signal_mask() -> Iterator[None]:
    """Restore the thread's signal mask at the end.

    Until Python 3.13, starting a process unblocks SIGINT and SIGTERM in the thread (gh-127586); they would
    then interrupt whatever the thread does. Between the two, a thread may take a signal.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
