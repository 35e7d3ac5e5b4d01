"""A machine whose answer to all headers is too long for the gateway: the newest are had, the rest is told."""

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
# Headers that a machine of these tests can tell of in time.
MOST_HEADERS = 200


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A DQM² whose answers of more headers than that miss the gateway's time, which is shorter too."""
    with Simulator(tmp_path / "simulator", relay_timeout_s=0.4) as running:
        running.faults.add(FaultKind.HEADER_COST, 400 / MOST_HEADERS, request_kind=RequestKind.HEADERS)
        yield running


def upload(simulator: Simulator, first: int, last: int) -> None:
    """Uploads a job each of runs first to last."""
    for run in range(first, last + 1):
        simulator.machine(FILTER_UNIT).upload(job_document(run=run, lumisections=1))


def test_it_mirrors_the_newest_that_can_be_had_and_says_what_can_not(
    simulator: Simulator, simulated_environment: dict[str, str], simulated_settings: Settings
) -> None:
    upload(simulator, 1, 500)
    with grabber_process(simulated_environment, "production", "--once") as grabber:
        output, _ = grabber.communicate(timeout=TIMEOUT_S)
    assert grabber.returncode == 0
    had = mirrored_runs(simulated_settings)
    assert had == set(range(min(had), 501))
    assert 0 < len(had) <= MOST_HEADERS
    missing = f"documents of revisions 0 to {min(had) - 1}: the response that lists them is too long"
    assert missing in output
    assert missing in (machine_links(simulated_settings)[MACHINE].missing or "")


def test_it_goes_on_behind_what_can_not_be_had(simulator: Simulator, simulated_settings: Settings) -> None:
    upload(simulator, 1, 500)
    assert mirror_once(simulated_settings)
    upload(simulator, 1, 1)
    upload(simulator, 501, 502)
    assert mirror_once(simulated_settings)
    assert {1, 501, 502} <= mirrored_runs(simulated_settings)
    assert metric("revisions_unavailable", MACHINE) == min(mirrored_runs(simulated_settings) - {1})
    # What is missing stays missing, and so does the news of it.
    assert "too long" in (machine_links(simulated_settings)[MACHINE].missing or "")


def test_it_catches_up_with_the_newest_after_it_was_away_for_too_long(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    upload(simulator, 1, 20)
    assert mirror_once(simulated_settings)
    upload(simulator, 21, 520)
    assert mirror_once(simulated_settings)
    assert max(mirrored_runs(simulated_settings)) == 520
