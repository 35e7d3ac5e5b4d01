"""Commands of dqmsquare_mirror.py: dispatch, help, and the health check."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import dqmsquare_mirror
from runtime import version
from tests import commands
from tests.grabber_runner import grabber_process
from tests.served import free_port, server_process
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent


def run(environment: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """Exit status and output of dqmsquare_mirror.py."""
    return commands.run(dqmsquare_mirror.main, environment, *arguments)


@pytest.fixture
def given(environment: dict[str, str]) -> dict[str, str]:
    """An environment whose ports are free."""
    ports = ("SERVER_PORT", "GRABBER_PRODUCTION_METRICS_PORT", "GRABBER_PLAYBACK_METRICS_PORT")
    return {**environment, **{name: free_port() for name in ports}}


def test_it_prints_its_version(given: dict[str, str]) -> None:
    assert run(given, "--version") == (0, f"DQM² Mirror {version.current()}\n")


def test_it_exits_with_status_2_for_an_unknown_command(given: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "dqmsquare_mirror.py", "robber"],
        cwd=ROOT,
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )
    names = "server, grabber, all, migrate, db, notify-test, healthcheck, simulator"
    assert (done.returncode, done.stderr) == (2, f"the first argument must be one of: {names}\n")


@pytest.mark.parametrize("arguments", [[], ["robber"], ["--verbose"]])
def test_it_rejects_an_unknown_command(arguments: list[str]) -> None:
    status, output = run({}, *arguments)
    assert status == 2
    assert output.startswith("the first argument must be one of: server, grabber, ")


@pytest.mark.parametrize(
    "command", ["server", "grabber", "migrate", "db", "notify-test", "healthcheck", "simulator"]
)
def test_each_command_has_help(command: str) -> None:
    status, output = run({}, command, "--help")
    assert status == 0
    assert output.startswith("usage: ")


def test_it_migrates(given: dict[str, str]) -> None:
    status, output = run(given, "migrate")
    assert status == 0
    assert output.count("ready for this program") == 2
    assert run(given, "db", "status") == (status, output)


def test_the_health_check_fails_where_nothing_runs(given: dict[str, str]) -> None:
    assert run(given, "healthcheck") == (1, "no program of the mirror runs here\n")


def test_the_health_check_passes_if_all_running_programs_are_healthy(given: dict[str, str]) -> None:
    expected = (0, "server: healthy\nproduction grabber: healthy\n")
    with server_process(given), grabber_process(given, "production"):
        until(lambda: run(given, "healthcheck") == expected)


def test_the_health_check_uses_the_loopback_for_a_wildcard_address(given: dict[str, str]) -> None:
    everywhere = {**given, "SERVER_HOST": "0.0.0.0"}
    with server_process(everywhere):
        assert run(everywhere, "healthcheck") == (0, "server: healthy\n")
