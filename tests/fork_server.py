"""Programs under test that are forked from a process that has imported them: a start costs no import.

The imports of `server.py` take most of a second of CPU, more than most tests of a server. A fork server
imports what its program imports, and nothing else. Per start it forks a process that executes the program's
file as `python server.py` does, with the arguments, environment and output of the start and no other open
file. It differs in three ways: it is a child of the fork server, /proc shows the command line and environment
of that, and its garbage collector ignores what was imported.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
# Arguments and environment of a start are one message. The kernel takes 200 kB by default.
_MAX_START_BYTES = 100_000
_MAX_NUMBER_BYTES = 20
# By name of the program, with their sockets. They end with this process, which closes the sockets.
_SERVERS: dict[str, tuple[subprocess.Popen[bytes], socket.socket]] = {}


class ForkedProgram:
    """A forked program: the part of `subprocess.Popen` that tests use."""

    def __init__(self, program: str, status: socket.socket, stdout: IO[str] | None) -> None:
        self.stdout = stdout
        self.returncode: int | None = None
        self._program = program
        self._status = status
        self.pid = int(status.recv(_MAX_NUMBER_BYTES))

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it exits; returns its exit status. Raises TimeoutExpired."""
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                message = self._status.recv(_MAX_NUMBER_BYTES)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self._program, timeout or 0) from None
            self.returncode = os.waitstatus_to_exitcode(int(message))
            self._status.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit status, or `None` while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """The rest of its output. Then it has `timeout` to exit."""
        output = ""
        if self.stdout is not None and not self.stdout.closed:
            with self.stdout:
                output = self.stdout.read()
        self.wait(timeout)
        return output, None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has exited; any thread may do so."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(
    program: str, arguments: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | None = None
) -> ForkedProgram:
    """Start `python <program>.py`. Its output and errors are written to `output`, else to its `stdout`."""
    reading, writing = (None, output.fileno()) if output else os.pipe()
    status, other_status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    message = json.dumps([arguments, dict(environment)]).encode()
    socket.send_fds(_control(program, environment), [message], [writing, other_status.fileno()])
    other_status.close()
    if reading is None:
        return ForkedProgram(program, status, None)
    os.close(writing)
    return ForkedProgram(program, status, os.fdopen(reading, encoding="utf-8"))


def _control(program: str, environment: Mapping[str, str]) -> socket.socket:
    """Socket of the fork server of a program; started with what the interpreter and libc read of a start."""
    if program not in _SERVERS:
        control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server", program, str(other.fileno())],
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                # Ctrl-C reaches pytest alone, whose fixtures end the programs.
                start_new_session=True,
            )
        _SERVERS[program] = process, control
    return _SERVERS[program][1]


class _Server:
    """Forks a process per start that arrives on `control`, and reports its exit status."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        # Processes and the sockets on which their exit is reported, by pidfd.
        self._running: dict[int, tuple[int, socket.socket]] = {}
        self._events = select.poll()
        self._events.register(control, select.POLLIN)

    def run(self) -> bytes | None:
        """The start of this process in each that is forked; `None` in the server once nobody needs it."""
        while True:
            ready = [file for file, _ in self._events.poll()]
            for pidfd in self._running.keys() & ready:
                self._report_exit(pidfd)
            if self._control.fileno() not in ready:
                continue
            start, files, _, _ = socket.recv_fds(self._control, _MAX_START_BYTES, 2)
            if not start:
                return None
            if self._fork(*files):
                return start

    def _fork(self, output: int, status_file: int) -> bool:
        """Fork; returns whether this is the new process. That writes to `output`."""
        status = socket.socket(fileno=status_file)
        pid = os.fork()
        if not pid:
            os.dup2(output, sys.stdout.fileno())
            os.dup2(output, sys.stderr.fileno())
            status.close()
            self._close()
        os.close(output)
        if pid:
            self._watch(pid, status)
        return not pid

    def _watch(self, pid: int, status: socket.socket) -> None:
        pidfd = os.pidfd_open(pid)
        self._running[pidfd] = pid, status
        self._events.register(pidfd, select.POLLIN)
        _send(status, pid)

    def _report_exit(self, pidfd: int) -> None:
        self._events.unregister(pidfd)
        pid, status = self._running.pop(pidfd)
        os.close(pidfd)
        with status:
            _send(status, os.waitpid(pid, 0)[1])

    def _close(self) -> None:
        self._control.close()
        for pidfd, (_, status) in self._running.items():
            os.close(pidfd)
            status.close()


def _send(status: socket.socket, number: int) -> None:
    # The test may have ended.
    with suppress(ConnectionError):
        status.send(str(number).encode())


def main(program: str, control: socket.socket) -> None:
    """Import a program and fork it per start. A new process executes the program's file."""
    importlib.import_module(program)
    # Otherwise each process would copy all of this memory at its first collection, in 0.3 s.
    gc.freeze()
    start = _Server(control).run()
    if start is None:
        return
    arguments, environment = json.loads(start)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    runpy.run_path(f"{program}.py", run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
