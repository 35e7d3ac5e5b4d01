"""Supervision of child processes: started as a group, watched, and stopped together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from runtime import die_with_parent

# Environment variables that save memory; the Dockerfile sets them too, and the systemd unit those of malloc.
# glibc's allocator, see mallopt(3), returns freed memory to the system: a grabber keeps 14 MB, not 42 MB,
# of a catch-up with 420 documents. The price is 13 ms of page faults per 8 MB response. A second arena would
# keep 1 MB more in a worker; Python's threads hardly compete for one. Without docstrings and columns of code,
# which tracebacks mark, a process has 6 MB less.
MEMORY_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "PYTHONNODEBUGRANGES": "1",
    "PYTHONOPTIMIZE": "2",
}
_TAIL_BYTES = 20_000
_WATCH_S = 3600.0
_READY_POLL_S = 0.1
_EXIT_POLL_S = 0.02
_LOOPBACK = "127.0.0.1"


class StopRequested(Exception):
    """Raised when a signal asks the program to stop; the message is the signal's name."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)


class ProcessError(Exception):
    """Raised when a process was not ready in time or exited; the message has the end of its output."""


class StopSignals:
    """Context in which SIGINT, SIGTERM, SIGHUP and SIGCHLD are blocked and delivered by `wait` alone.

    A signal between the start of a process and its registration would otherwise leave that process running.
    For single-threaded programs.
    """

    def __init__(self) -> None:
        self._stopping = {signal.SIGINT, signal.SIGTERM}
        # Under nohup SIGHUP is ignored; a blocked signal would be delivered all the same.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._stopping.add(signal.SIGHUP)
        self._awaited = self._stopping | {signal.SIGCHLD}
        self._mask_before: set[int | signal.Signals] = set()

    def __enter__(self) -> Self:
        self._mask_before = set(signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Discards repeated signals, such as a second Ctrl-C: the program is stopping already.
        while signal.sigtimedwait(self._awaited, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask_before)

    def wait(self, seconds: float) -> None:
        """Wait, less if a child exits; raises StopRequested if the program is asked to stop."""
        received = signal.sigtimedwait(self._awaited, seconds)
        if received is not None and received.si_signo in self._stopping:
            raise StopRequested(received.si_signo)


@dataclass(frozen=True)
class ProcessSpec:
    """Command line and surroundings of a process.

    `arguments` begin with the full path of the executable; `environment` is the whole environment. Output
    goes to the file `output`, which is truncated, or to this program's. Root starts the process as `user`.
    `stop_signals` are sent in turn to stop it, then SIGKILL.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    cwd: Path
    output: Path | None = None
    user: str | None = None
    stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,)


class Process:
    """A started process. It leads its own session, so that Ctrl-C reaches only its parent."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self._popen = _spawn(spec)
        self._is_reaped = False

    @property
    def name(self) -> str:
        """Name in the specification."""
        return self.spec.name

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not exited yet."""
        return self.exit_status is None

    @property
    def exit_status(self) -> int | None:
        """Exit status, negative for a signal; `None` while it runs."""
        if self._is_reaped:
            return self._popen.returncode
        # WNOWAIT leaves the process unreaped, so that its id, which is also its group's, is not reused.
        exited = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if exited is None:
            return None
        return exited.si_status if exited.si_code == os.CLD_EXITED else -exited.si_status

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal unless the process has exited."""
        if self.is_running:
            os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the exit; returns whether it came in time."""
        deadline = time.monotonic() + timeout_s
        while self.is_running:
            if time.monotonic() > deadline:
                return False
            time.sleep(_EXIT_POLL_S)
        return True

    def kill_group(self) -> None:
        """Kill the process and the rest of its process group, and reap it."""
        if self._is_reaped:
            return
        os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        self._is_reaped = True

    def tail(self, count: int = 12) -> list[str]:
        """Last lines of its output; empty if that does not go to a file."""
        if self.spec.output is None:
            return []
        with self.spec.output.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-count:]

    def report(self, outcome: str) -> str:
        """Error message: the process's name, the outcome, and the end of its output."""
        return "\n".join([f"{self.name} {outcome}", *(f"    {line}" for line in self.tail())])

    def raise_if_exited(self) -> None:
        """Raise ProcessError if the process has exited."""
        if (status := self.exit_status) is None:
            return
        how = f"on {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        raise ProcessError(self.report(f"exited unexpectedly {how}"))


class ProcessGroup:
    """Processes that are stopped together, within `stop_timeout_s`, when the context exits."""

    def __init__(self, *, stop_timeout_s: float) -> None:
        self._stop_timeout_s = stop_timeout_s
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop_all(self._processes, timeout_s=self._stop_timeout_s)

    def __iter__(self) -> Iterator[Process]:
        return iter(self._processes)

    def start(self, spec: ProcessSpec) -> Process:
        """Start a process as a member of the group."""
        process = Process(spec)
        self._processes.append(process)
        return process


def stop_all(processes: Iterable[Process], *, timeout_s: float) -> None:
    """Stop processes concurrently: `stop_signals` share the timeout equally, then SIGKILL."""
    every = list(processes)
    running = [process for process in every if process.is_running]
    rounds = max((len(process.spec.stop_signals) for process in running), default=1)
    started = time.monotonic()
    for number in range(rounds):
        for process in running:
            process.send_signal(process.spec.stop_signals[min(number, len(process.spec.stop_signals) - 1)])
        deadline = started + timeout_s * (number + 1) / rounds
        running = [process for process in running if not process.wait(deadline - time.monotonic())]
    for process in every:
        process.kill_group()


def wait_until_ready(
    is_ready: Callable[[], bool],
    process: Process,
    signals: StopSignals,
    *,
    timeout_s: float,
    dependencies: Iterable[Process] = (),
) -> None:
    """Wait until `process` is ready.

    Raises ProcessError on a timeout or if it or one of its dependencies exits; raises StopRequested.
    """
    watched = (*dependencies, process)
    deadline = time.monotonic() + timeout_s
    while not is_ready():
        for one in watched:
            one.raise_if_exited()
        if time.monotonic() > deadline:
            raise ProcessError(process.report(f"was not ready within {timeout_s:.0f} s"))
        signals.wait(_READY_POLL_S)


def watch(processes: Sequence[Process], signals: StopSignals) -> NoReturn:
    """Wait until a signal arrives (raises StopRequested) or a process exits (raises ProcessError)."""
    while True:
        for process in processes:
            process.raise_if_exited()
        signals.wait(_WATCH_S)


def free_ports(count: int) -> list[int]:
    """Distinct free TCP ports of the loopback, reserved until this program ends.

    A bound socket that does not listen reserves each: the system chooses the port for no other server or
    connection, but a server that binds it by its number with SO_REUSEADDR can listen on it.
    """
    return [_reserve_port() for _ in range(count)]


def free_port() -> int:
    """A free TCP port of the loopback, reserved until this program ends."""
    [port] = free_ports(1)
    return port


def _reserve_port() -> int:
    reserving = socket.socket()
    reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserving.bind((_LOOPBACK, 0))
    port: int = reserving.getsockname()[1]
    # Leaves the descriptor open.
    reserving.detach()
    return port


def _spawn(spec: ProcessSpec) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        *("-I", "-S", die_with_parent.__file__),
        *(str(os.getpid()), str(int(spec.stop_signals[0])), spec.user or die_with_parent.SAME_USER),
        *spec.arguments,
    ]
    if spec.output is None:
        return _popen(spec, command, None)
    descriptor = os.open(spec.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return _popen(spec, command, descriptor)
    finally:
        os.close(descriptor)


def _popen(spec: ProcessSpec, command: Sequence[str], output: int | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=dict(spec.environment),
        cwd=spec.cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
    )
