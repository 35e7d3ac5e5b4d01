"""Supervised processes: started, watched and stopped together."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.supervisor import (
    Process,
    ProcessError,
    ProcessGroup,
    ProcessSpec,
    StopRequested,
    StopSignals,
    free_ports,
    wait_until_ready,
    watch,
)
from tests.processes import is_alive
from tests.waiting import TIMEOUT_S, until

ROOT = Path(__file__).resolve().parent.parent
# Reports that the traps before it are set, then runs until it is stopped.
READY = "echo ready; while :; do sleep 0.1; done"

Shell = Callable[..., ProcessSpec]


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    """Stop signals, blocked while the test runs."""
    with StopSignals() as blocked:
        yield blocked


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Specification of a process that runs a line of shell."""

    def spec(line: str, *stop_signals: signal.Signals) -> ProcessSpec:
        return ProcessSpec(
            name="example",
            arguments=["/bin/sh", "-c", line],
            environment={"PATH": os.environ["PATH"]},
            cwd=tmp_path,
            output=tmp_path / "example.out",
            stop_signals=stop_signals or (signal.SIGTERM,),
        )

    return spec


def is_ready(process: Process) -> bool:
    return "ready" in process.tail()


def test_it_stops_a_process_with_its_stop_signal(shell: Shell, signals: StopSignals) -> None:
    with ProcessGroup(stop_timeout_s=TIMEOUT_S) as processes:
        process = processes.start(shell(f"trap 'exit 7' INT; {READY}", signal.SIGINT))
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=TIMEOUT_S)
    assert process.exit_status == 7


def test_it_sends_further_stop_signals(
    shell: Shell, signals: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = Process.wait

    def wait_for_refusal(process: Process, timeout_s: float) -> bool:
        """The first time, end once the process has refused to stop, in place of half of the time."""
        if "refused" in process.tail():
            return wait(process, timeout_s)
        until(lambda: "refused" in process.tail())
        return False

    monkeypatch.setattr(Process, "wait", wait_for_refusal)
    with ProcessGroup(stop_timeout_s=TIMEOUT_S) as processes:
        process = processes.start(
            shell(f"trap 'echo refused' INT; trap 'exit 7' QUIT; {READY}", signal.SIGINT, signal.SIGQUIT)
        )
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=TIMEOUT_S)
    assert process.exit_status == 7


def test_it_sends_sigkill_finally(shell: Shell, signals: StopSignals) -> None:
    with ProcessGroup(stop_timeout_s=0.2) as processes:
        process = processes.start(shell(f"trap '' INT TERM; {READY}", signal.SIGTERM))
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=TIMEOUT_S)
    assert process.exit_status == -signal.SIGKILL


def test_it_kills_the_process_group_that_an_exited_process_left(shell: Shell, signals: StopSignals) -> None:
    with ProcessGroup(stop_timeout_s=TIMEOUT_S) as processes:
        process = processes.start(shell("sleep 1000 & echo $!; echo ready; exit 0"))
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=TIMEOUT_S)
        orphan = int(process.tail()[0])
        assert is_alive(orphan)
    until(lambda: not is_alive(orphan))


def test_it_reports_the_exit_status_and_the_end_of_the_output(shell: Shell, signals: StopSignals) -> None:
    with ProcessGroup(stop_timeout_s=TIMEOUT_S) as processes:
        process = processes.start(shell("echo that was it; exit 3"))
        with pytest.raises(ProcessError, match=r"(?s)example exited unexpectedly with status 3.*that was it"):
            watch([process], signals)


def test_it_does_not_wait_for_a_process_that_exited(shell: Shell, signals: StopSignals) -> None:
    with ProcessGroup(stop_timeout_s=TIMEOUT_S) as processes:
        process = processes.start(shell("kill -KILL $$"))
        with pytest.raises(ProcessError, match="on SIGKILL"):
            wait_until_ready(lambda: False, process, signals, timeout_s=1000)


def test_it_times_out_if_a_process_is_never_ready(shell: Shell, signals: StopSignals) -> None:
    with ProcessGroup(stop_timeout_s=TIMEOUT_S) as processes:
        process = processes.start(shell(READY))
        with pytest.raises(ProcessError, match="was not ready within"):
            wait_until_ready(lambda: False, process, signals, timeout_s=0.2)


@pytest.fixture
def handled(number: signal.Signals) -> Iterator[list[int]]:
    """The signals that a handler got, which would otherwise end the tests; under nohup SIGHUP has none."""
    handled: list[int] = []
    before = signal.signal(number, lambda number, _frame: handled.append(number))
    yield handled
    signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_delivers_a_signal_only_while_it_waits(number: signal.Signals, handled: list[int]) -> None:
    with StopSignals() as signals:
        # Sent to this thread: threads of other tests do not block signals.
        signal.pthread_kill(threading.get_ident(), number)
        with pytest.raises(StopRequested, match=number.name):
            signals.wait(0)
    assert handled == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP])
def test_processes_do_not_inherit_ignored_signals(
    shell: Shell, signals: StopSignals, number: signal.Signals
) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    with ProcessGroup(stop_timeout_s=TIMEOUT_S) as processes:
        process = processes.start(shell(READY))
        signal.signal(number, before)
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=TIMEOUT_S)
        process.send_signal(number)
        assert process.wait(TIMEOUT_S)
    assert process.exit_status == -number


def test_processes_do_not_inherit_the_environment(
    shell: Shell, signals: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DQM_FFF_SECRET", "of-the-user")
    with ProcessGroup(stop_timeout_s=TIMEOUT_S) as processes:
        process = processes.start(shell(f"echo secret: $DQM_FFF_SECRET; {READY}"))
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=TIMEOUT_S)
    assert "secret:" in process.tail()


def test_a_process_does_not_outlive_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    until(lambda: not is_alive(child))


PARENT = """
import sys, time
from pathlib import Path
from runtime.supervisor import Process, ProcessSpec

process = Process(ProcessSpec("child", ["/bin/sleep", "1000"], {}, Path(sys.argv[1])))
print(process.pid, flush=True)
time.sleep(1000)
"""


def test_it_reserves_free_ports_for_servers_that_are_given_them() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as other, pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
            other.bind(("127.0.0.1", port))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        for host in ("127.0.0.1", ""):
            with (
                socket.create_server((host, port)),
                socket.create_connection(("127.0.0.1", port)),
                pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)),
            ):
                socket.create_server(("127.0.0.1", port))
