"""Simulated life at many times its speed: memory stays flat, and the mirror ends equal to DQM².

SOAK_HOURS is the number of simulated hours, at 60 times real speed.
"""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import db
from benchmarks import proc_usage
from dqmsquare_cfg import Cluster, Settings
from simulator.simulator import Simulator
from tests.grabber_runner import differences, grabber_process, rows
from tests.waiting import until

HOURS = float(os.environ.get("SOAK_HOURS", "1"))
SPEED = 60.0
# Samples of the first part of the run are ignored.
WARM_UP_SHARE = 0.3
# The difference that a single garbage collection can make.
TOLERANCE_MB = 15.0
_SAMPLE_INTERVAL_S = 2.0


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A simulated DQM² whose clusters run at the given speed."""
    with Simulator(tmp_path / "simulator", history=3, live=True, speed=SPEED) as running:
        yield running


def is_caught_up(simulator: Simulator, settings: Settings, cluster: Cluster) -> bool:
    """Whether every machine of a cluster is mirrored to its highest revision."""
    held = {simulator.machine(host).highest_revision for host in settings.machines(cluster)}
    mirrored = {machine["revision"] for machine in rows(settings, db.machines, cluster)}
    return held <= mirrored


@pytest.mark.long
@pytest.mark.timeout(HOURS * 3600 / SPEED + 600)
def test_it_stays_flat_and_ends_equal_to_dqm2(
    simulator: Simulator, simulated_environment: dict[str, str], simulated_settings: Settings
) -> None:
    lasts_s = HOURS * 3600 / SPEED
    memory: list[float] = []
    with grabber_process(simulated_environment, forked=False) as grabber:
        # Its output is drained so that the pipe does not fill up.
        assert grabber.stdout is not None
        threading.Thread(target=grabber.stdout.read, daemon=True).start()
        ends_s = time.monotonic() + lasts_s
        while time.monotonic() < ends_s:
            memory.append(proc_usage.rss_mb(grabber.pid))
            time.sleep(_SAMPLE_INTERVAL_S)
        simulator.world.stop()
        for cluster in Cluster:
            until(lambda cluster=cluster: is_caught_up(simulator, simulated_settings, cluster))  # type: ignore[misc]
        assert grabber.poll() is None
    for cluster in Cluster:
        assert rows(simulated_settings, db.quarantined_documents, cluster) == []
        assert differences(simulated_settings, simulator, cluster, allow_extra=True) == []
    settled = memory[int(WARM_UP_SHARE * len(memory)) :]
    third = max(1, len(settled) // 3)
    assert min(settled[-third:]) < max(settled[:third]) + TOLERANCE_MB, memory
