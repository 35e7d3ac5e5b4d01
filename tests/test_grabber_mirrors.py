"""One pass of the grabber: DQM²'s documents are in the database once, and nothing else has changed."""

import time
from itertools import pairwise
from typing import Any

import pytest

import db
from dqmsquare_cfg import Cluster, Settings
from simulator.documents import (
    diskspace_document,
    files_document,
    job_document,
    playback_document,
    stats_document,
)
from simulator.fault_injection import FaultKind
from simulator.simulator import Simulator
from storage.job_state import JobState
from tests.grabber_runner import (
    BUILDER_UNIT,
    FILTER_UNIT,
    OTHER_FILTER_UNIT,
    mirror_once,
    mirrored_tables,
    reader,
    rows,
    running_grabber,
)
from tests.waiting import until


def test_it_mirrors_a_job_with_series_and_log(simulator: Simulator, simulated_settings: Settings) -> None:
    log = {"stdlog_start": ["one\n", "two\n"], "stdlog_end": ["three\n"]}
    simulator.machine(FILTER_UNIT).upload(job_document(run=358788, lumisections=10, extra=log))
    assert mirror_once(simulated_settings)
    run = reader(simulated_settings).runs.get(358788)
    assert run is not None
    assert (run.run_key, run.cmssw_version) == ("cosmic_run", "12_4_8_39145_39162_39341_39326_39353")
    (job,) = run.jobs
    assert (job.name, job.machine, job.state) == ("beampixel", "dqmfu-c2b03-..", JobState.RUNNING)
    assert (job.lumisection, job.events_total, job.rss_kb) == (10, 12000, 362_744)
    details = reader(simulated_settings).jobs.details(job.id)
    assert details is not None
    assert (details.log.head, details.log.tail) == ("one\ntwo\n", "three\n")
    assert list(details.series.events.lumisections) == list(range(1, 11))
    assert set(details.series.memory.rss_kb) == {362_744}
    assert len(details.series.input_statuses.statuses) == 10


def test_it_mirrors_every_document_type(simulator: Simulator, simulated_settings: Settings) -> None:
    gateway = simulated_settings.server_fff_machine
    machine = simulator.machine(gateway)
    machine.upload(files_document(host=gateway, run=500015))
    machine.upload(playback_document(host=gateway, run=500015))
    machine.upload(stats_document(host=gateway))
    machine.upload(diskspace_document(host=gateway))
    assert mirror_once(simulated_settings, Cluster.PLAYBACK)
    mirror = reader(simulated_settings, Cluster.PLAYBACK)
    delivery, playback = mirror.deliveries.get(500015), mirror.deliveries.playback(500015)
    assert delivery is not None
    assert [len(stream.lumisections) for stream in delivery.streams] == [10] * len(delivery.streams)
    assert playback is not None
    assert (playback.source_run, playback.number_of_ls, playback.run_key) == (256936, 1500, "pp_run")
    (shown,) = (found for found in mirror.cluster.machines() if found.memory is not None)
    assert shown.memory is not None
    assert shown.memory.available_bytes == 40 * 2**30
    assert [disk.files for disk in shown.disks] == [8123]


def test_it_skips_documents_of_other_types(simulator: Simulator, simulated_settings: Settings) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload({"_id": "release", "type": "dqm-release", "timestamp": 1.0})
    assert mirror_once(simulated_settings)
    assert not any(mirrored_tables(simulated_settings).values())
    before = len(simulator.requests)
    assert mirror_once(simulated_settings)
    assert len(simulator.requests) - before == len(simulated_settings.fff_production_machines) + 1


def test_it_replaces_a_document_by_a_newer_version(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(lumisections=10))
    assert mirror_once(simulated_settings)
    machine.upload(job_document(lumisections=11, exit_code=0))
    assert mirror_once(simulated_settings)
    (job,) = rows(simulated_settings, db.jobs)
    assert (job["lumisection"], job["exit_code"]) == (11, 0)


def test_it_describes_a_run_by_the_newest_report_of_any_machine(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    newer, older = time.time(), time.time() - 60
    for host, at, run_key in ((FILTER_UNIT, newer, "pp_run"), (OTHER_FILTER_UNIT, older, "cosmic_run")):
        simulator.machine(host).upload(job_document(run=1, host=host, timestamp=at, run_key=run_key))
        assert mirror_once(simulated_settings)
    assert [run["run_key"] for run in rows(simulated_settings, db.runs)] == ["pp_run"]


def test_it_takes_a_machines_clock_from_its_newest_document_and_its_newest_run_from_any(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    now = int(time.time())
    unit = simulator.machine(FILTER_UNIT)
    for run, at in ((5, now - 60), (3, now - 30), (4, now)):
        unit.upload(job_document(run=run, timestamp=at))
        if run == 5:
            assert mirror_once(simulated_settings)
    # A clock that far ahead is ignored.
    unit.upload(job_document(run=6, timestamp=now + 10 * 86_400))
    assert mirror_once(simulated_settings)
    [machine] = [row for row in rows(simulated_settings, db.machines) if row["label"] == "dqmfu-c2b03-.."]
    assert (machine["clock_at"].timestamp(), machine["newest_run"]) == (now, 5)


def test_it_changes_nothing_when_repeated(simulator: Simulator, simulated_settings: Settings) -> None:
    for pid in range(60):
        simulator.machine(FILTER_UNIT).upload(job_document(pid=pid, lumisections=1))
    assert mirror_once(simulated_settings)
    before, states_before = mirrored_tables(simulated_settings), rows(simulated_settings, db.machine_states)
    assert len(before["jobs"]) == len(before["job_details"]) == 60
    assert mirror_once(simulated_settings)
    assert mirrored_tables(simulated_settings) == before
    assert rows(simulated_settings, db.machine_states) == states_before != []


def test_it_mirrors_the_cluster_status_by_machine(simulator: Simulator, simulated_settings: Settings) -> None:
    simulator.machine(OTHER_FILTER_UNIT).is_dead = True
    assert not mirror_once(simulated_settings)
    status = {machine.machine: machine for machine in reader(simulated_settings).cluster.machine_statuses()}
    assert {label: machine.is_up for label, machine in status.items()} == {
        "dqmrubu-c2a06-..": True,
        "dqmfu-c2b03-..": True,
        "dqmfu-c2b04-..": False,
    }
    assert status["dqmfu-c2b04-.."].reason


def test_it_sends_one_request_per_machine_and_writes_only_its_heartbeat_when_idle(
    simulator: Simulator, brisk_settings: Settings
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document())
    assert mirror_once(brisk_settings)
    before = mirrored_tables(brisk_settings) | {"machines": rows(brisk_settings, db.machines)}
    earlier = len(simulator.requests)
    with running_grabber(brisk_settings):
        until(lambda: len(simulator.requests) >= earlier + 10)
    when_idle = simulator.requests[earlier:]
    assert all(request.path.endswith(("redirect", "cr/exe")) for request in when_idle)
    assert not any(b"request_documents" in request.body for request in when_idle)
    assert mirrored_tables(brisk_settings) | {"machines": rows(brisk_settings, db.machines)} == before


@pytest.mark.usefixtures("_early_parser_processes")
def test_it_sends_one_request_at_a_time(simulator: Simulator, simulated_settings: Settings) -> None:
    # Parser processes let requests be queued ahead; the latency would make any two overlap.
    simulator.fill(FILTER_UNIT, 60, small=True)
    simulator.faults.add(FaultKind.LATENCY, 0.02)
    assert mirror_once(simulated_settings)
    spans = sorted((request.started_s, request.ended_s) for request in simulator.requests)
    assert len(spans) > 5
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))


def test_it_accepts_numbers_as_numbers_and_as_text(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    values: list[Any] = [7, "7"]
    for pid, value in enumerate(values):
        simulator.machine(FILTER_UNIT).upload(job_document(pid=pid, cmssw_lumi=value, events_total=value))
    assert mirror_once(simulated_settings)
    found = [(job["lumisection"], job["events_total"]) for job in rows(simulated_settings, db.jobs)]
    assert found == [(7, 7), (7, 7)]


def test_it_counts_revisions_by_machine(simulator: Simulator, simulated_settings: Settings) -> None:
    for host in (BUILDER_UNIT, FILTER_UNIT, OTHER_FILTER_UNIT):
        simulator.machine(host).upload(stats_document(host=host))
    assert mirror_once(simulated_settings)
    assert [machine["revision"] for machine in rows(simulated_settings, db.machines)] == [1, 1, 1]
