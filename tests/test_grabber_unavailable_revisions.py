"""Machines with too many headers for the gateway: the newest are mirrored, the rest reported missing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dqmsquare_cfg import Settings
from simulator.documents import job_document
from simulator.fault_injection import FaultKind, RequestKind
from simulator.simulator import Simulator
from tests.grabber_runner import (
    FILTER_UNIT,
    grabber_process,
    machine_links,
    metric,
    mirror_once,
    mirrored_runs,
)
from tests.waiting import TIMEOUT_S

MACHINE = "dqmfu-c2b03-.."
# Headers that the simulated machine can send in time.
MAX_HEADERS = 50


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A simulated DQM² whose responses with more headers exceed the gateway's timeout.

    That is short, because the simulator uses as much CPU time.
    """
    timeout_ms = 20
    with Simulator(tmp_path / "simulator", relay_timeout_s=timeout_ms / 1000) as running:
        running.faults.add(FaultKind.HEADER_COST, timeout_ms / MAX_HEADERS, request_kind=RequestKind.HEADERS)
        yield running


def upload(simulator: Simulator, first: int, last: int) -> None:
    """Upload a job for each of the runs."""
    for run in range(first, last + 1):
        simulator.machine(FILTER_UNIT).upload(job_document(run=run, lumisections=1))


def test_it_mirrors_the_newest_and_reports_what_is_missing(
    simulator: Simulator, simulated_environment: dict[str, str], simulated_settings: Settings
) -> None:
    upload(simulator, 1, 120)
    with grabber_process(simulated_environment, "production", "--once") as grabber:
        output, _ = grabber.communicate(timeout=TIMEOUT_S)
    assert grabber.returncode == 0
    mirrored = mirrored_runs(simulated_settings)
    assert mirrored == set(range(min(mirrored), 121))
    assert 0 < len(mirrored) <= MAX_HEADERS
    missing = f"documents of revisions 0 to {min(mirrored) - 1}: the response that lists them is too long"
    assert missing in output
    assert missing in (machine_links(simulated_settings)[MACHINE].missing or "")


def test_it_continues_behind_missing_revisions(simulator: Simulator, simulated_settings: Settings) -> None:
    upload(simulator, 1, 120)
    assert mirror_once(simulated_settings)
    upload(simulator, 1, 1)
    upload(simulator, 121, 122)
    assert mirror_once(simulated_settings)
    assert {1, 121, 122} <= mirrored_runs(simulated_settings)
    assert metric("revisions_unavailable", MACHINE) == min(mirrored_runs(simulated_settings) - {1})
    # It is still reported.
    assert "too long" in (machine_links(simulated_settings)[MACHINE].missing or "")


def test_it_mirrors_the_newest_after_a_long_downtime(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    upload(simulator, 1, 20)
    assert mirror_once(simulated_settings)
    upload(simulator, 21, 140)
    assert mirror_once(simulated_settings)
    assert max(mirrored_runs(simulated_settings)) == 140
