"""`make run` and `dqmsquare_mirror all`: server and grabbers started and stopped together."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from tests.examples import long
from tests.processes import command_line, with_environment
from tests.served import free_port
from tests.waiting import TIMEOUT_S, until

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def port() -> str:
    """Port of the web server."""
    return free_port()


MAKE_RUN = pytest.param(["make", "--silent", "--old-file=install", "run"], id="make run")
ALL = long([sys.executable, "dqmsquare_mirror.py", "all"], id="all")


@pytest.fixture
def running(
    simulated_environment: Mapping[str, str], port: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator["subprocess.Popen[str]"]:
    """All programs, started with the settings in a file."""
    file = tmp_path / "settings.env"
    settings = {**simulated_environment, "SERVER_PORT": port}
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items() if name != "ENV_FILE"))
    with subprocess.Popen(
        request.param,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "ENV_FILE": str(file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.terminate()


def is_ready(port: str) -> bool:
    """Whether the web server is ready."""
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=TIMEOUT_S).ok
    except requests.ConnectionError:
        return False


def processes_of(folder: Path) -> dict[str, int]:
    """Ids by command line of the mirror's processes with files in `folder`."""
    return {command_line(pid): pid for pid in with_environment(str(folder))}


@pytest.mark.parametrize("running", [MAKE_RUN, ALL], indirect=True)
def test_it_runs_both_grabbers_and_the_server_until_it_is_stopped(
    running: "subprocess.Popen[str]", port: str, tmp_path: Path
) -> None:
    until(lambda: is_ready(port))
    commands = " ".join(processes_of(tmp_path))
    assert all(
        program in commands for program in ("grabber.py production", "grabber.py playback", "server.py")
    )
    running.terminate()
    running.communicate()
    assert processes_of(tmp_path) == {}


# Long: the demo is supervised by the same code, and ends in the same way when one of its programs exits.
@pytest.mark.long
@pytest.mark.parametrize("running", [MAKE_RUN, ALL], indirect=True)
def test_it_runs_until_one_of_its_programs_exits(
    running: "subprocess.Popen[str]", port: str, tmp_path: Path
) -> None:
    until(lambda: is_ready(port))
    [grabber] = [
        number for command, number in processes_of(tmp_path).items() if "grabber.py playback" in command
    ]
    os.kill(grabber, signal.SIGKILL)
    output, _ = running.communicate()
    assert "playback grabber exited unexpectedly on SIGKILL" in output
    assert running.returncode != 0
    assert processes_of(tmp_path) == {}
