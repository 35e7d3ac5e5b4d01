"""The program's first words: what they start, what they refuse, and what `probe` finds."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from runtime import version
from tests.mirroring import grabber_process
from tests.served import free_port, server_process
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent


def mirror(environment: Mapping[str, str], *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "dqmsquare_mirror.py", *words],
        cwd=ROOT,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture
def given(environment: dict[str, str]) -> dict[str, str]:
    """An environment in which nothing of the mirror runs yet."""
    ports = ("SERVER_PORT", "GRABBER_PRODUCTION_METRICS_PORT", "GRABBER_PLAYBACK_METRICS_PORT")
    return {**environment, **{name: free_port() for name in ports}}


def test_it_tells_its_version(given: dict[str, str]) -> None:
    assert mirror(given, "--version") == (0, f"DQM² Mirror {version.current()}\n")


@pytest.mark.parametrize("words", [[], ["robber"], ["--verbose"]])
def test_it_refuses_a_first_word_that_is_no_part(given: dict[str, str], words: list[str]) -> None:
    status, said = mirror(given, *words)
    assert status == 2
    assert said == "the first word must be one of: server, grabber, migrate, db, probe, simulator, sift\n"


@pytest.mark.parametrize("part", ["server", "grabber", "migrate", "db", "probe", "simulator"])
def test_each_part_explains_itself(given: dict[str, str], part: str) -> None:
    status, said = mirror(given, part, "--help")
    assert status == 0
    assert said.startswith("usage: ")


def test_it_migrates(given: dict[str, str]) -> None:
    status, said = mirror(given, "migrate")
    assert status == 0
    assert said.count("ready for this program") == 2
    assert mirror(given, "db", "status") == (status, said)


def test_the_probe_finds_nothing_where_nothing_runs(given: dict[str, str]) -> None:
    assert mirror(given, "probe") == (1, "nothing of the mirror answers here\n")


def test_the_probe_is_content_with_what_runs_here(given: dict[str, str]) -> None:
    with server_process(given), grabber_process(given, "production"):
        until(lambda: mirror(given, "probe") == (0, "server: well\nproduction grabber: well\n"))


def test_the_probe_asks_every_address_at_one_of_its_own(given: dict[str, str]) -> None:
    everywhere = {**given, "SERVER_HOST": "0.0.0.0"}
    with server_process(everywhere):
        assert mirror(everywhere, "probe") == (0, "server: well\n")
