"""ProcessGroup that are watched and ended together."""

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
# Says when it is ready to be told to end; what it runs before that line is each test's own.
READY = "echo ready; while :; do sleep 0.1; done"


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    """The signals that end a program, held back."""
    with StopSignals() as held:
        yield held


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], ProcessSpec]:
    """Makes a program of a line of shell."""

    def program(line: str, *stop_signals: signal.Signals) -> ProcessSpec:
        return ProcessSpec(
            name="example",
            arguments=["/bin/sh", "-c", line],
            environment={"PATH": os.environ["PATH"]},
            cwd=tmp_path,
            output=tmp_path / "example.out",
            stop_signals=stop_signals or (signal.SIGTERM,),
        )

    return program


def is_ready(process: Process) -> bool:
    """Whether a program of `shell` has said so."""
    return "ready" in process.tail()


def is_gone(pid: int) -> bool:
    """Whether a process is no more, or no more than an entry that nobody has fetched."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def wait_for(condition: Callable[[], bool]) -> None:
    """Waits until something holds; the test's own time-out ends it otherwise."""
    while not condition():
        time.sleep(0.02)


def test_it_ends_a_program_by_the_signal_that_asks_for_it(
    shell: Callable[..., ProcessSpec], signals: StopSignals
) -> None:
    with ProcessGroup(stop_timeout_s=10) as processes:
        process = processes.start(shell(f"trap 'exit 7' INT; {READY}", signal.SIGINT))
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=10)
    assert process.exit_status == 7


def test_it_grows_more_pressing_and_kills_in_the_end(
    shell: Callable[..., ProcessSpec], signals: StopSignals
) -> None:
    # Each of its two signals has half of it, which a shell on a busy machine may need to be heard.
    with ProcessGroup(stop_timeout_s=3) as processes:
        yielding = processes.start(
            shell(f"trap '' INT; trap 'exit 7' QUIT; {READY}", signal.SIGINT, signal.SIGQUIT)
        )
        wait_until_ready(lambda: is_ready(yielding), yielding, signals, timeout_s=10)
        stubborn = processes.start(shell(f"trap '' INT TERM; {READY}", signal.SIGTERM))
        wait_until_ready(lambda: is_ready(stubborn), stubborn, signals, timeout_s=10)
    assert yielding.exit_status == 7
    assert stubborn.exit_status == -signal.SIGKILL


def test_it_clears_away_what_a_dead_process_left_of_its_group(
    shell: Callable[..., ProcessSpec], signals: StopSignals
) -> None:
    with ProcessGroup(stop_timeout_s=5) as processes:
        process = processes.start(shell("sleep 1000 & echo $!; echo ready; exit 0"))
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=10)
        left_behind = int(process.tail()[0])
        assert not is_gone(left_behind)
    wait_for(lambda: is_gone(left_behind))


def test_it_tells_how_a_process_ended_and_its_last_words(
    shell: Callable[..., ProcessSpec], signals: StopSignals
) -> None:
    with ProcessGroup(stop_timeout_s=5) as processes:
        process = processes.start(shell("echo that was it; exit 3"))
        with pytest.raises(ProcessError, match=r"(?s)example exited unexpectedly with status 3.*that was it"):
            watch([process], signals)


def test_it_does_not_wait_for_one_that_died(shell: Callable[..., ProcessSpec], signals: StopSignals) -> None:
    with ProcessGroup(stop_timeout_s=5) as processes:
        process = processes.start(shell("kill -KILL $$"))
        with pytest.raises(ProcessError, match="on SIGKILL"):
            wait_until_ready(lambda: False, process, signals, timeout_s=1000)


def test_it_gives_up_on_one_that_is_never_ready(
    shell: Callable[..., ProcessSpec], signals: StopSignals
) -> None:
    with ProcessGroup(stop_timeout_s=5) as processes:
        process = processes.start(shell(READY))
        with pytest.raises(ProcessError, match="was not ready within"):
            wait_until_ready(lambda: False, process, signals, timeout_s=0.2)


@pytest.fixture
def of_a_terminal() -> Iterator[None]:
    """Hearing that the terminal goes, also where `nohup` runs the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("of_a_terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_takes_a_signal_where_it_waits_and_not_before(number: signal.Signals) -> None:
    with StopSignals() as signals:
        # To this thread alone: another test's threads hold nothing back.
        signal.pthread_kill(threading.get_ident(), number)
        with pytest.raises(StopRequested, match=number.name):
            signals.wait(0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP])
def test_it_starts_programs_that_take_signals(
    shell: Callable[..., ProcessSpec], signals: StopSignals, number: signal.Signals
) -> None:
    # As a shell has what it runs in the background ignore them, and `nohup` the last.
    before = signal.signal(number, signal.SIG_IGN)
    with ProcessGroup(stop_timeout_s=5) as processes:
        process = processes.start(shell(READY))
        signal.signal(number, before)
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=10)
        process.send_signal(number)
        assert process.wait(10)
    assert process.exit_status == -number


def test_it_gives_a_program_no_more_of_the_environment_than_it_is_given(
    shell: Callable[..., ProcessSpec], signals: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DQM_FFF_SECRET", "of-the-user")
    with ProcessGroup(stop_timeout_s=5) as processes:
        process = processes.start(shell(f"echo secret: $DQM_FFF_SECRET; {READY}"))
        wait_until_ready(lambda: is_ready(process), process, signals, timeout_s=10)
    assert "secret:" in process.tail()


def test_a_program_does_not_outlive_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    wait_for(lambda: is_gone(child))


PARENT = """
import sys, time
from pathlib import Path
from runtime.supervisor import Process, ProcessSpec

process = Process(ProcessSpec("child", ["/bin/sleep", "1000"], {}, Path(sys.argv[1])))
print(process.pid, flush=True)
time.sleep(1000)
"""
