"""Fixtures: a server that reaches a simulated DQM², whose users sign in without delay."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dqmsquare_cfg import Settings
from simulator.simulator import Simulator
from tests.served import with_fast_passwords


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A simulated DQM² with a few clients and short logs."""
    clients = ("beam", "csc", "dt", "ecal")
    with Simulator(tmp_path / "simulator", clients=clients, run_length=(20, 20)) as simulator:
        simulator.control.logs.min_characters = 4_000
        yield simulator


@pytest.fixture
def settings(simulated_settings: Settings) -> Settings:
    """Settings of the server under test."""
    return with_fast_passwords(simulated_settings)
