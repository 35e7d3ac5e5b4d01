"""Signal mask of a thread that starts processes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unchanged_signal_mask() -> Iterator[None]:
    """Restore the thread's signal mask at the end.

    Until Python 3.13, starting a process unblocks SIGINT and SIGTERM in the thread (gh-127586); they would
    then interrupt whatever the thread does. Between the two, a thread may take a signal.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
