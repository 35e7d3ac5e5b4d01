"""The Control Room's own stage: a server that reaches a simulated DQM², whose users sign in without delay."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dqmsquare_cfg import Settings
from simulator.simulator import Simulator
from tests.control_room import quick


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A DQM² of a few clients, with short logs."""
    clients = ("beam", "csc", "dt", "ecal")
    with Simulator(tmp_path / "simulator", clients=clients, run_length=(20, 20)) as simulator:
        simulator.control.logs.min_characters = 4_000
        yield simulator


@pytest.fixture
def settings(simulated_settings: Settings) -> Settings:
    """The settings of the server under test."""
    return quick(simulated_settings)
