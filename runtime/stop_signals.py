"""Ctrl-C, SIGTERM and SIGHUP, held back until the program waits.

A signal that arrives between the start of a process and the note of it would leave that process behind. So
the signals stay blocked, and a program of one thread takes them where it waits, and nowhere else.
"""

import signal
from types import TracebackType
from typing import Self


class StopRequested(Exception):
    """A signal asks the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)


class StopSignals:
    """The signals that end a program, and those of its children's ends, while it is entered."""

    def __init__(self) -> None:
        self._stopping = {signal.SIGINT, signal.SIGTERM}
        # nohup means that the terminal may go; blocked, the signal would come all the same.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._stopping.add(signal.SIGHUP)
        self._awaited = self._stopping | {signal.SIGCHLD}
        self._before: set[int | signal.Signals] = set()

    def __enter__(self) -> Self:
        self._before = set(signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An impatient second Ctrl-C has been obeyed by now.
        while signal.sigtimedwait(self._awaited, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def wait(self, seconds: float) -> None:
        """Waits so long, less if a child ends meanwhile; raises StopRequested if the program is to end."""
        received = signal.sigtimedwait(self._awaited, seconds)
        if received is not None and received.si_signo in self._stopping:
            raise StopRequested(received.si_signo)
