"""After a pause, or after the machine's revisions started over, the mirror holds the newest of everything."""

import signal

import db
from dqm2.simulator import FaultKind, Simulator, job_document
from dqmsquare_cfg import Settings
from tests.mirroring import FILTER_UNIT, grabber_process, mirror_once, mirrored, rows, until


def lumisections(settings: Settings) -> dict[int, int]:
    """The lumisection of each job in the database, by the run that it is of."""
    return {job["run"]: job["lumisection"] for job in rows(settings, db.jobs)}


def test_it_goes_on_from_the_stored_revision(simulator: Simulator, simulated_settings: Settings) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    assert mirror_once(simulated_settings)
    earlier = len(simulator.requests)
    machine.upload(job_document(run=2))
    assert mirror_once(simulated_settings)
    asked = [
        message
        for request in simulator.requests[earlier:]
        if ("path", FILTER_UNIT) in request.query
        for message in request.messages
    ]
    assert asked == [
        {"event": "sync_request", "known_rev": "1"},
        {"event": "request_documents", "ids": [job_document(run=2)["_id"]]},
    ]


def test_it_starts_over_when_revisions_go_back(simulator: Simulator, simulated_settings: Settings) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in (1, 2, 3):
        machine.upload(job_document(run=run, lumisections=5))
    assert mirror_once(simulated_settings)
    machine.reset()
    machine.upload(job_document(run=3, lumisections=6))
    assert mirror_once(simulated_settings)
    assert lumisections(simulated_settings) == {1: 5, 2: 5, 3: 6}


def test_it_starts_over_when_a_reset_machine_has_counted_beyond_what_is_known(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1, lumisections=5))
    assert mirror_once(simulated_settings)
    machine.reset()
    for run in (2, 3, 1):
        machine.upload(job_document(run=run, lumisections=run + 5))
    assert mirror_once(simulated_settings)
    assert lumisections(simulated_settings) == {1: 6, 2: 7, 3: 8}


def test_it_starts_over_when_pruned_revisions_are_given_out_again(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in (1, 2, 3):
        machine.upload(job_document(run=run))
    assert mirror_once(simulated_settings)
    machine.prune(2)
    for run in (4, 5):
        machine.upload(job_document(run=run))
    assert mirror_once(simulated_settings)
    assert set(lumisections(simulated_settings)) == {1, 2, 3, 4, 5}


def test_it_keeps_what_the_machine_has_lost(simulator: Simulator, simulated_settings: Settings) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    assert mirror_once(simulated_settings)
    machine.reset()
    assert mirror_once(simulated_settings)
    assert set(lumisections(simulated_settings)) == {1}
    machine.upload(job_document(run=2))
    assert mirror_once(simulated_settings)
    assert set(lumisections(simulated_settings)) == {1, 2}


def test_it_takes_the_head_document_updated_meanwhile_for_no_reset(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1, lumisections=5))
    assert mirror_once(simulated_settings)
    machine.upload(job_document(run=1, lumisections=6))
    assert mirror_once(simulated_settings)
    assert lumisections(simulated_settings) == {1: 6}
    assert {job["epoch"] for job in rows(simulated_settings, db.jobs)} == {0}


def test_it_loses_and_repeats_nothing_when_it_is_killed_during_a_catch_up(
    simulator: Simulator, simulated_environment: dict[str, str], simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for pid in range(1500):
        machine.upload(job_document(pid=pid, run=pid, lumisections=1))
    simulator.faults.add(FaultKind.LATENCY, 0.2)
    for killed_at in (200, 800):
        with grabber_process(simulated_environment, "production") as grabber:
            until(lambda count=killed_at: len(rows(simulated_settings, db.jobs)) >= count)  # type: ignore[misc]
            grabber.send_signal(signal.SIGKILL)
            grabber.wait(timeout=10)
    assert 800 <= len(rows(simulated_settings, db.jobs)) < 1500
    simulator.faults.clear()
    assert mirror_once(simulated_settings)
    kept = mirrored(simulated_settings)
    assert len(kept["jobs"]) == len(kept["job_details"]) == 1500
    assert {job["run"] for job in kept["jobs"]} == set(range(1500))
