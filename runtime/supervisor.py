"""A process that is watched, and a group of them that ends as one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from runtime import die_with_parent
from runtime.stop_signals import StopSignals

_TAIL_BYTES = 20_000
_WATCH_S = 3600.0
_READY_POLL_S = 0.1
_END_POLL_S = 0.02


class ProcessError(Exception):
    """A process did not start, was not ready in time, or ended by itself; the message says how it went."""


@dataclass(frozen=True)
class Program:
    """What is to run: `arguments` from the full path of the executable on, with no more than `environment`.

    Its output goes to the file `output`, made anew, or where this program's own goes. `user`: whom root
    runs it as. `endings`: the signals that ask it to end, the more pressing later; SIGKILL follows them.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    output: Path | None = None
    user: str | None = None
    endings: tuple[signal.Signals, ...] = (signal.SIGTERM,)


class Process:
    """A program that was started. It leads a session of its own, so that Ctrl-C reaches its parent alone."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._popen = _spawn(program)
        self._is_reaped = False

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.exit_status is None

    @property
    def exit_status(self) -> int | None:
        """The status that it ended with, negative for a signal; None while it runs."""
        if self._is_reaped:
            return self._popen.returncode
        # Looked at without taking it, so that its number, which is its group's too, stays its own.
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal; nothing if it has ended."""
        if self.is_running:
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Waits for its end, so long at most; returns whether it came."""
        deadline = time.monotonic() + seconds
        while self.is_running:
            if time.monotonic() > deadline:
                return False
            time.sleep(_END_POLL_S)
        return True

    def clear_away(self) -> None:
        """Kills it and what it left of its group, as of a web server that died before its workers."""
        if self._is_reaped:
            return
        os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        self._is_reaped = True

    def last_lines(self, most: int = 12) -> list[str]:
        """The end of its output, if that goes to a file."""
        if self.program.output is None:
            return []
        with self.program.output.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-most:]

    def how_it_went(self, what: str) -> str:
        """A sentence of what became of it, and the end of its output below."""
        return "\n".join([f"{self.name} {what}", *(f"    {line}" for line in self.last_lines())])

    def refuse_ended(self) -> None:
        """Raises ProcessError if it has ended."""
        if (status := self.exit_status) is None:
            return
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        raise ProcessError(self.how_it_went(f"ended by itself, {how}"))


class Processes:
    """A group of processes; leaving it ends them all within `stop_within_s`."""

    def __init__(self, *, stop_within_s: float) -> None:
        self._stop_within_s = stop_within_s
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._processes, within_s=self._stop_within_s)

    def __iter__(self) -> Iterator[Process]:
        return iter(self._processes)

    def start(self, program: Program) -> Process:
        """Starts a program as one of the group."""
        process = Process(program)
        self._processes.append(process)
        return process


def end(processes: Iterable[Process], *, within_s: float) -> None:
    """Ends processes at the same time: each signal of `endings` has its share of it, SIGKILL what is left."""
    every = list(processes)
    running = [process for process in every if process.is_running]
    shares = max((len(process.program.endings) for process in running), default=1)
    started = time.monotonic()
    for turn in range(shares):
        for process in running:
            process.send(process.program.endings[min(turn, len(process.program.endings) - 1)])
        deadline = started + within_s * (turn + 1) / shares
        running = [process for process in running if not process.wait(deadline - time.monotonic())]
    for process in every:
        process.clear_away()


def wait_until(
    ready: Callable[[], bool],
    awaited: Process,
    signals: StopSignals,
    *,
    within_s: float,
    beside: Iterable[Process] = (),
) -> None:
    """Waits until `ready`, which `awaited` is to bring about.

    Raises ProcessError if that takes longer, or if it, or one `beside` it, ends meanwhile; StopRequested.
    """
    watched = (*beside, awaited)
    deadline = time.monotonic() + within_s
    while not ready():
        for process in watched:
            process.refuse_ended()
        if time.monotonic() > deadline:
            raise ProcessError(awaited.how_it_went(f"was not ready within {within_s:.0f} s"))
        signals.wait(_READY_POLL_S)


def watch(processes: Sequence[Process], signals: StopSignals) -> NoReturn:
    """Waits until a signal ends it (StopRequested) or one of the processes ends by itself (ProcessError)."""
    while True:
        for process in processes:
            process.refuse_ended()
        signals.wait(_WATCH_S)


def _spawn(program: Program) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        *("-I", "-S", die_with_parent.__file__),
        *(str(os.getpid()), str(int(program.endings[0])), program.user or die_with_parent.SAME_USER),
        *program.arguments,
    ]
    if program.output is None:
        return _popen(program, command, None)
    descriptor = os.open(program.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return _popen(program, command, descriptor)
    finally:
        os.close(descriptor)


def _popen(program: Program, command: Sequence[str], output: int | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=dict(program.environment),
        cwd=program.folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
    )
