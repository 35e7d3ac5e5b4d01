"""Interruptions: a grabber ended at any moment loses and duplicates nothing."""

import random
import signal
import threading
from functools import partial

import pytest

import db
from dqmsquare_cfg import Settings
from simulator.fault_injection import FaultKind
from simulator.http_types import Request
from simulator.simulator import Simulator
from tests.examples import core_of
from tests.grabber_runner import (
    FEW,
    FILTER_UNIT,
    MANY,
    OTHER_FILTER_UNIT,
    GrabberProcess,
    count_rows,
    differences,
    grabber_process,
    mirror_once,
    rows,
    wait_for_log,
)
from tests.waiting import TIMEOUT_S


def interrupt_at_random(
    simulator: Simulator,
    environment: dict[str, str],
    settings: Settings,
    *,
    times: int,
    by: signal.Signals,
) -> None:
    """Start a grabber `times` times and end it by a signal, at a random moment of its start or its catch-up.

    It must exit, with status 0 unless it was killed. Whenever it has caught up, its machine is reset and gets
    the same documents again.
    """
    dice = random.Random(times)
    simulator.faults.add(FaultKind.LATENCY, 0.1)
    for _ in range(times):
        if count_rows(settings, db.jobs) == MANY and revision(settings) == MANY:
            machine = simulator.machine(FILTER_UNIT)
            documents = list(machine.documents().values())
            machine.reset()
            for document in reversed(documents):
                machine.upload(document)
        with grabber_process(environment, "production") as grabber:
            if by is not signal.SIGKILL:
                wait_for_log(grabber, "lock_acquired cluster")
            threading.Event().wait(dice.uniform(0, 3))
            grabber.send_signal(by)
            status = grabber.wait(timeout=TIMEOUT_S)
        assert status == (-by if by is signal.SIGKILL else 0)
    simulator.faults.clear()


def revision(settings: Settings) -> int:
    """The highest revision up to which a machine is mirrored."""
    return max((machine["revision"] or 0 for machine in rows(settings, db.machines)), default=0)


def fill(simulator: Simulator, documents: int = MANY) -> None:
    """Upload small documents to a machine, and large ones to another."""
    simulator.fill(FILTER_UNIT, documents, small=True)
    simulator.fill(OTHER_FILTER_UNIT, 10)


def kill_if_stored(jobs: int, grabber: GrabberProcess, settings: Settings, _request: Request) -> None:
    """Kill a grabber during a request, once so many jobs are stored."""
    if count_rows(settings, db.jobs) >= jobs:
        grabber.kill()


@pytest.mark.parametrize("documents", core_of([FEW, MANY], FEW))
def test_it_loses_and_duplicates_nothing_when_killed_during_a_catch_up(
    simulator: Simulator,
    simulated_environment: dict[str, str],
    simulated_settings: Settings,
    documents: int,
) -> None:
    fill(simulator, documents)
    simulator.faults.add(FaultKind.LATENCY, 0.2, machine=FILTER_UNIT)
    first, second = documents // 5, documents // 2
    for stored in (first, second):
        with grabber_process(simulated_environment, "production") as grabber:
            simulator.on_request = partial(kill_if_stored, stored, grabber, simulated_settings)
            grabber.wait(timeout=TIMEOUT_S)
    simulator.on_request = lambda _request: None
    assert second <= count_rows(simulated_settings, db.jobs) < documents
    simulator.faults.clear()
    assert mirror_once(simulated_settings)
    assert differences(simulated_settings, simulator) == []


@pytest.mark.long
def test_it_loses_and_duplicates_nothing_when_terminated_at_random_moments(
    simulator: Simulator, simulated_environment: dict[str, str], simulated_settings: Settings
) -> None:
    fill(simulator)
    interrupt_at_random(simulator, simulated_environment, simulated_settings, times=2, by=signal.SIGTERM)
    assert mirror_once(simulated_settings)
    assert differences(simulated_settings, simulator) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_it_loses_and_duplicates_nothing_when_ended_at_a_hundred_random_moments(
    simulator: Simulator,
    simulated_environment: dict[str, str],
    simulated_settings: Settings,
    by: signal.Signals,
) -> None:
    fill(simulator)
    interrupt_at_random(simulator, simulated_environment, simulated_settings, times=100, by=by)
    assert mirror_once(simulated_settings)
    assert differences(simulated_settings, simulator) == []
