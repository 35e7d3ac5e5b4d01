"""Resuming: after a pause, or a reset of the machine's revisions, the mirror has the newest of everything."""

import dataclasses
import time

import pytest

import db
from dqm2.records import LUMISECTION_S
from dqmsquare_cfg import Settings
from simulator.documents import job_document
from simulator.http_types import Request
from simulator.simulator import Simulator
from storage.job_state import JobState
from tests.examples import core_of
from tests.grabber_runner import (
    FILTER_UNIT,
    OTHER_FILTER_UNIT,
    metric,
    mirror_once,
    mirrored_tables,
    reader,
    rows,
    running_grabber,
)
from tests.waiting import until


def lumisections(settings: Settings) -> dict[int, int]:
    """The lumisection of each job in the database, by run."""
    return {job["run"]: job["lumisection"] for job in rows(settings, db.jobs)}


def test_it_continues_from_the_stored_revision(simulator: Simulator, simulated_settings: Settings) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    assert mirror_once(simulated_settings)
    earlier = len(simulator.requests)
    machine.upload(job_document(run=2))
    assert mirror_once(simulated_settings)
    sent = [
        message
        for request in simulator.requests[earlier:]
        if ("path", FILTER_UNIT) in request.query
        for message in request.messages
    ]
    assert sent == [
        {"event": "sync_request", "known_rev": "1"},
        {"event": "request_documents", "ids": [job_document(run=2)["_id"]]},
    ]


def test_it_starts_over_when_revisions_go_back_and_reports_it(
    simulator: Simulator, simulated_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    before = metric("revision_resets_total", "dqmfu-c2b03-..")
    machine = simulator.machine(FILTER_UNIT)
    for run in (1, 2, 3):
        machine.upload(job_document(run=run, lumisections=5))
    assert mirror_once(simulated_settings)
    machine.reset()
    machine.upload(job_document(run=3, lumisections=6))
    assert mirror_once(simulated_settings)
    assert lumisections(simulated_settings) == {1: 5, 2: 5, 3: 6}
    assert metric("revision_resets_total", "dqmfu-c2b03-..") == before + 1
    assert "revision_reset host=dqmfu-c2b03-.. epoch=1 after_revision=3" in caplog.text


def test_it_starts_over_when_a_reset_machine_is_beyond_the_known_revision(
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


def test_it_starts_over_when_pruned_revisions_are_assigned_again(
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


def test_it_starts_over_when_the_checkpoints_revision_is_assigned_to_the_same_document(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in (1, 2, 3):
        machine.upload(job_document(run=run, lumisections=5))
    assert mirror_once(simulated_settings)
    machine.prune(2)
    # The monitors then send newer versions of the same documents in the same order.
    for run in (2, 3):
        machine.upload(job_document(run=run, lumisections=6))
    assert mirror_once(simulated_settings)
    assert lumisections(simulated_settings) == {1: 5, 2: 6, 3: 6}


def test_it_takes_a_second_document_of_the_checkpoints_revision_for_no_reset(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)

    def give_revision_of_the_one_before() -> None:
        before, newest = machine.stored()[-2:]
        newest.header = dataclasses.replace(newest.header, revision=before.header.revision)

    machine.upload(job_document(run=1))
    machine.upload(job_document(run=2))
    give_revision_of_the_one_before()
    assert mirror_once(simulated_settings)
    # This one comes when the others are mirrored.
    machine.upload(job_document(run=3))
    give_revision_of_the_one_before()
    assert mirror_once(simulated_settings)
    assert mirror_once(simulated_settings)
    assert set(lumisections(simulated_settings)) == {1, 2, 3}
    assert {one["epoch"] for one in rows(simulated_settings, db.machines)} == {0}


def test_it_starts_over_while_documents_keep_changing(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in range(1, 6):
        machine.upload(job_document(run=run, lumisections=5))
    settings = dataclasses.replace(simulated_settings, grabber_sleep_time_info=0.1)
    with running_grabber(settings):
        until(lambda: len(lumisections(settings)) == 5)
        for lumisection in range(6, 30):
            if lumisection % 5 == 0:
                machine.prune(3)
            if lumisection % 12 == 0:
                machine.reset()
            machine.upload(job_document(run=lumisection % 5 + 1, lumisections=lumisection))
        machine.upload(job_document(run=9))
        until(lambda: 9 in lumisections(settings))
    held = {document["run"]: int(document["cmssw_lumi"]) for document in machine.documents().values()}
    found = lumisections(settings)
    assert {run: found[run] for run in held} == held


def test_it_starts_over_after_a_reset_between_headers_and_documents(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in range(1, 6):
        machine.upload(job_document(run=run, lumisections=5))

    def reset(request: Request) -> None:
        if b"request_documents" in request.body:
            simulator.on_request = lambda _request: None
            machine.reset()
            for run in (5, 4):
                machine.upload(job_document(run=run, lumisections=6))

    simulator.on_request = reset
    assert mirror_once(simulated_settings)
    assert mirror_once(simulated_settings)
    assert lumisections(simulated_settings) == {4: 6, 5: 6}
    assert rows(simulated_settings, db.quarantined_documents) == []


def test_it_continues_when_documents_are_pruned_after_their_headers_were_sent(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in range(1, 6):
        machine.upload(job_document(run=run))

    def prune(request: Request) -> None:
        if b"request_documents" in request.body:
            simulator.on_request = lambda _request: None
            machine.prune(2)

    simulator.on_request = prune
    assert mirror_once(simulated_settings)
    machine.upload(job_document(run=6))
    assert mirror_once(simulated_settings)
    assert set(lumisections(simulated_settings)) == {1, 2, 3, 6}


def test_it_mirrors_a_document_that_changes_while_it_is_fetched(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1, lumisections=5))

    def change(request: Request) -> None:
        if b"request_documents" in request.body:
            simulator.on_request = lambda _request: None
            machine.upload(job_document(run=1, lumisections=6))

    simulator.on_request = change
    assert mirror_once(simulated_settings)
    assert lumisections(simulated_settings) == {1: 6}
    before = mirrored_tables(simulated_settings)
    assert mirror_once(simulated_settings)
    assert mirrored_tables(simulated_settings) == before


def test_it_recognizes_a_job_id_that_is_reused_for_another_job(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    now = time.time()
    machine.upload(job_document(timestamp=now - 9000, lumisections=5, exit_code=1))
    assert mirror_once(simulated_settings)
    machine.upload(job_document(timestamp=now, lumisections=5))
    assert mirror_once(simulated_settings)
    (job,) = rows(simulated_settings, db.jobs)
    started_at = now - 4 * LUMISECTION_S
    assert job["exit_code"] is None
    assert job["started_at"].timestamp() == pytest.approx(started_at, abs=1)
    assert job["lumisection_at"].timestamp() == pytest.approx(now, abs=1)


def test_it_keeps_the_earliest_times_that_a_job_reported(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    now = time.time()
    for at in (now - 60, now - 30, now):
        # Without series, neither the job's start nor the time of its lumisection is known.
        series: dict[str, dict[str, str]] = {"mem_info": {}, "lumi_stats": {}}
        machine.upload(job_document(timestamp=at, lumisections=5, extra=series))
        assert mirror_once(simulated_settings)
    (job,) = rows(simulated_settings, db.jobs)
    assert job["updated_at"].timestamp() == pytest.approx(now, abs=1)
    assert job["started_at"].timestamp() == pytest.approx(now - 60, abs=1)
    assert job["lumisection_at"].timestamp() == pytest.approx(now - 60, abs=1)


@pytest.mark.parametrize("ahead_s", core_of([-3600, 3600], 3600))
def test_it_tolerates_a_clock_that_is_off_by_an_hour(
    simulator: Simulator, simulated_settings: Settings, ahead_s: float
) -> None:
    now = time.time()
    simulator.machine(FILTER_UNIT).upload(job_document(run=1, timestamp=now + ahead_s))
    simulator.machine(OTHER_FILTER_UNIT).upload(
        job_document(run=1, timestamp=now, host=OTHER_FILTER_UNIT, pid=7)
    )
    assert mirror_once(simulated_settings)
    run = reader(simulated_settings).runs.get(1)
    assert run is not None
    assert [job.state for job in run.jobs] == [JobState.RUNNING] * 2


def test_it_keeps_documents_that_the_machine_has_lost(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    assert mirror_once(simulated_settings)
    machine.reset()
    assert mirror_once(simulated_settings)
    assert set(lumisections(simulated_settings)) == {1}
    machine.upload(job_document(run=2))
    assert mirror_once(simulated_settings)
    assert set(lumisections(simulated_settings)) == {1, 2}


def test_it_does_not_mistake_an_update_of_the_checkpoints_document_for_a_reset(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1, lumisections=5))
    assert mirror_once(simulated_settings)
    machine.upload(job_document(run=1, lumisections=6))
    assert mirror_once(simulated_settings)
    assert lumisections(simulated_settings) == {1: 6}
    assert {job["epoch"] for job in rows(simulated_settings, db.jobs)} == {0}
