"""Supervised processes: started, watched and stopped together."""

import os
import signal
import subprocess
import sys
import threading
import time
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
    wait_until_ready,
    watch,
)

ROOT = Path(__file__).resolve().parent.parent
# Reports that the traps before it are set, then runs until it is stopped.
READY = "echo ready; while :; do sleep 0.1; done"

Shell = Callable[..., ProcessSpec]


@pytest.fixture
def signals() -> Iterator[StopSignals]:
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


def has_exited(pid: int) -> bool:
    """Whether a process does not exist any more or is a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's timeout limits it."""
    while not condition():
        time.sleep(0.02)


def test_it_stops_a_process_with_its_stop_signal(shell: Shell, signals: StopSignals) -> None:
    with ProcessGroup(stop_timeout_s=10) as processes:
        process = processes.start(shell(f"trap 'exit 7' INT; {READY}", signal.SIGINT))
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=10)
    assert process.exit_status == 7


def test_it_sends_further_stop_signals_and_finally_sigkill(shell: Shell, signals: StopSignals) -> None:
    # Each of two signals has half of the timeout, which a shell on a busy machine may need.
    with ProcessGroup(stop_timeout_s=3) as processes:
        yielding = processes.start(
            shell(f"trap '' INT; trap 'exit 7' QUIT; {READY}", signal.SIGINT, signal.SIGQUIT)
        )
        wait_until_ready(lambda: is_ready(yielding), yielding, signals, timeout_s=10)
        stubborn = processes.start(shell(f"trap '' INT TERM; {READY}", signal.SIGTERM))
        wait_until_ready(lambda: is_ready(stubborn), stubborn, signals, timeout_s=10)
    assert yielding.exit_status == 7
    assert stubborn.exit_status == -signal.SIGKILL


def test_it_kills_the_process_group_that_an_exited_process_left(shell: Shell, signals: StopSignals) -> None:
    with ProcessGroup(stop_timeout_s=5) as processes:
        process = processes.start(shell("sleep 1000 & echo $!; echo ready; exit 0"))
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=10)
        orphan = int(process.tail()[0])
        assert not has_exited(orphan)
    wait_for(lambda: has_exited(orphan))


def test_it_reports_the_exit_status_and_the_end_of_the_output(shell: Shell, signals: StopSignals) -> None:
    with ProcessGroup(stop_timeout_s=5) as processes:
        process = processes.start(shell("echo that was it; exit 3"))
        with pytest.raises(ProcessError, match=r"(?s)example exited unexpectedly with status 3.*that was it"):
            watch([process], signals)


def test_it_does_not_wait_for_a_process_that_exited(shell: Shell, signals: StopSignals) -> None:
    with ProcessGroup(stop_timeout_s=5) as processes:
        process = processes.start(shell("kill -KILL $$"))
        with pytest.raises(ProcessError, match="on SIGKILL"):
            wait_until_ready(lambda: False, process, signals, timeout_s=1000)


def test_it_times_out_if_a_process_is_never_ready(shell: Shell, signals: StopSignals) -> None:
    with ProcessGroup(stop_timeout_s=5) as processes:
        process = processes.start(shell(READY))
        with pytest.raises(ProcessError, match="was not ready within"):
            wait_until_ready(lambda: False, process, signals, timeout_s=0.2)


@pytest.fixture
def with_terminal() -> Iterator[None]:
    """SIGHUP handled as in a terminal, even if the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("with_terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_delivers_a_signal_only_while_it_waits(number: signal.Signals) -> None:
    with StopSignals() as signals:
        # Sent to this thread: threads of other tests do not block signals.
        signal.pthread_kill(threading.get_ident(), number)
        with pytest.raises(StopRequested, match=number.name):
            signals.wait(0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP])
def test_processes_do_not_inherit_ignored_signals(
    shell: Shell, signals: StopSignals, number: signal.Signals
) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    with ProcessGroup(stop_timeout_s=5) as processes:
        process = processes.start(shell(READY))
        signal.signal(number, before)
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=10)
        process.send_signal(number)
        assert process.wait(10)
    assert process.exit_status == -number


def test_processes_do_not_inherit_the_environment(
    shell: Shell, signals: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DQM_FFF_SECRET", "of-the-user")
    with ProcessGroup(stop_timeout_s=5) as processes:
        process = processes.start(shell(f"echo secret: $DQM_FFF_SECRET; {READY}"))
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=10)
    assert "secret:" in process.tail()


def test_a_process_does_not_outlive_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    wait_for(lambda: has_exited(child))


PARENT = """
import sys, time
from pathlib import Path
from runtime.supervisor import Process, ProcessSpec

process = Process(ProcessSpec("child", ["/bin/sleep", "1000"], {}, Path(sys.argv[1])))
print(process.pid, flush=True)
time.sleep(1000)
"""
