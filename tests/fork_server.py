"""Programs under test that are forked from a process that has imported them: a start costs no import.

The imports of `server.py` take most of a second of CPU, more than most tests of a server. A fork server
imports what its program imports, and nothing else. Per start it forks a process that executes the program's
file as `python server.py` does, with the arguments, environment and output of the start and no other open
file. It differs in five ways: it is a child of the fork server, /proc shows the command line and environment
of that, its garbage collector ignores what was imported, it exits without freeing its memory, and servers
share static files and compiled templates. All workers of a test run use the same fork servers, which end with
the run.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent
# Arguments and environment of a start are one message. The kernel takes 200 kB by default.
_MAX_START_BYTES = 100_000
_MAX_NUMBER_BYTES = 20
# Of pytest: with workers, that of the process that started them.
_TEST_RUN = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
_CREDENTIALS = struct.Struct("3i")
_FIRST_STARTS = 16
# They end by themselves.
_SERVERS: list[subprocess.Popen[bytes]] = []


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
    status = _connect(program, environment)
    message = json.dumps([arguments, dict(environment)]).encode()
    socket.send_fds(status, [message], [writing])
    if reading is None:
        return ForkedProgram(program, status, None)
    os.close(writing)
    return ForkedProgram(program, status, os.fdopen(reading, encoding="utf-8"))


def _connect(program: str, environment: Mapping[str, str]) -> socket.socket:
    """Connection with the fork server of a program, for one start.

    The fork server is started with what the interpreter and libc read of the first start.
    """
    # In Linux's abstract namespace: it leaves no file.
    address = f"\0dqmsquare-tests-{_TEST_RUN}-{program}"
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def is_connected() -> bool:
        with suppress(ConnectionRefusedError):
            connection.connect(address)
            return True
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            try:
                listening.bind(address)
            except OSError:
                # Another worker is about to start it.
                return False
            listening.listen(_FIRST_STARTS)
            _start_server(program, environment, listening.fileno())
        return False

    until(is_connected)
    return connection


def _start_server(program: str, environment: Mapping[str, str], listening: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server", program, str(listening), str(_TEST_RUN)],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[listening],
        # Ctrl-C reaches pytest alone, whose fixtures end the programs.
        start_new_session=True,
    )
    _SERVERS.append(process)


class _Server:
    """Forks a process per start that arrives on a connection to `listening`, and reports its exit status."""

    def __init__(self, listening: socket.socket, test_run: int) -> None:
        self._listening = listening
        # It becomes readable when the test run ends.
        self._test_run = os.pidfd_open(test_run)
        # Processes and the connections on which their exit is reported, by pidfd.
        self._running: dict[int, tuple[int, socket.socket]] = {}
        self._events = select.poll()
        self._events.register(self._listening, select.POLLIN)
        self._events.register(self._test_run, select.POLLIN)

    def run(self) -> bytes | None:
        """The start of this process in each that is forked; `None` in the server once the test run ends."""
        while True:
            ready = [file for file, _ in self._events.poll()]
            for pidfd in self._running.keys() & ready:
                self._report_exit(pidfd)
            if self._test_run in ready:
                return None
            if self._listening.fileno() in ready and (start := self._accept()):
                return start

    def _accept(self) -> bytes | None:
        """Fork for a start; returns it in the new process."""
        connection, _ = self._listening.accept()
        if _is_of_this_user(connection):
            start, files, _, _ = socket.recv_fds(connection, _MAX_START_BYTES, 1)
            # None are sent by a worker that ended meanwhile.
            if files:
                return start if self._fork(files[0], connection) else None
        connection.close()
        return None

    def _fork(self, output: int, connection: socket.socket) -> bool:
        """Fork; returns whether this is the new process. That writes to `output`."""
        pid = os.fork()
        if not pid:
            os.dup2(output, sys.stdout.fileno())
            os.dup2(output, sys.stderr.fileno())
            connection.close()
            self._close()
        os.close(output)
        if pid:
            self._watch(pid, connection)
        return not pid

    def _watch(self, pid: int, connection: socket.socket) -> None:
        pidfd = os.pidfd_open(pid)
        self._running[pidfd] = pid, connection
        self._events.register(pidfd, select.POLLIN)
        _send(connection, pid)

    def _report_exit(self, pidfd: int) -> None:
        self._events.unregister(pidfd)
        pid, connection = self._running.pop(pidfd)
        os.close(pidfd)
        with connection:
            _send(connection, os.waitpid(pid, 0)[1])

    def _close(self) -> None:
        self._listening.close()
        os.close(self._test_run)
        for pidfd, (_, connection) in self._running.items():
            os.close(pidfd)
            connection.close()


def _is_of_this_user(connection: socket.socket) -> bool:
    """Whether this user connected: others can as well."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, user, _group = _CREDENTIALS.unpack(credentials)
    return bool(user == os.getuid())


def _send(connection: socket.socket, number: int) -> None:
    # The test may have ended.
    with suppress(ConnectionError):
        connection.send(str(number).encode())


def main(program: str, listening: socket.socket, test_run: int) -> None:
    """Import a program and fork it per start. A new process executes the program's file."""
    importlib.import_module(program)
    templates = Path(tempfile.mkdtemp())
    if program == "server":
        _make_what_each_server_makes(templates)
    # Otherwise each process would copy all of this memory at its first collection, in 0.3 s.
    gc.freeze()
    start = _Server(listening, test_run).run()
    if start is None:
        shutil.rmtree(templates)
        return
    arguments, environment = json.loads(start)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    _execute(f"{program}.py")


def _make_what_each_server_makes(templates: Path) -> None:
    """Read the static files and the version, which each process does once; keep compiled templates."""
    from flask import Flask
    from jinja2 import FileSystemBytecodeCache

    from runtime import version
    from web import static_files

    version.current()
    static_files.read("css/base.css")
    Flask.jinja_options = {"bytecode_cache": FileSystemBytecodeCache(str(templates))}


def _execute(file: str) -> None:
    """Execute a program, which exits without freeing its memory: that would copy all of it first."""
    status: int | None = None

    def end() -> None:
        if status is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    # The functions that were registered last are called first.
    atexit.register(end)
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit as exited:
        if isinstance(exited.code, int):
            status = exited.code
        raise
    status = 0


if __name__ == "__main__":
    main(sys.argv[1], socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3]))
