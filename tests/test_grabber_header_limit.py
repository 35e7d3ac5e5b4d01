"""A machine with more headers than the client accepts: the newest are mirrored, the rest reported missing."""

import pytest

from dqmsquare_cfg import Settings
from simulator.documents import job_document
from simulator.simulator import Simulator
from tests.grabber_runner import FILTER_UNIT, machine_links, mirror_once, mirrored_runs

MACHINE = "dqmfu-c2b03-.."
MAX_HEADERS = 10


def test_it_reports_its_own_limit_and_not_the_gateway(
    simulator: Simulator, simulated_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in range(1, 31):
        simulator.machine(FILTER_UNIT).upload(job_document(run=run, lumisections=1))
    monkeypatch.setattr("dqm2.headers.MAX_HEADERS", MAX_HEADERS)
    assert mirror_once(simulated_settings)
    mirrored = mirrored_runs(simulated_settings)
    assert mirrored == set(range(min(mirrored), 31))
    assert 0 < len(mirrored) <= MAX_HEADERS
    assert machine_links(simulated_settings)[MACHINE].missing == (
        f"documents of revisions 0 to {min(mirrored) - 1}: the response has more than 10 headers"
    )
