"""A document that can't be understood is set aside with the reason, and mirroring goes on behind it."""

import math
from typing import Any

import pytest

import db
from dqm2.simulator import FaultKind, Simulator, job_document
from dqmsquare_cfg import Settings
from tests.mirroring import FILTER_UNIT, mirror_once, rows

# Fields without which nobody can tell what a document is about.
TIMELESS = {"timestamp": None, "report_timestamp": None}


def test_it_sets_aside_a_document_without_a_time(simulator: Simulator, simulated_settings: Settings) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    machine.upload({**job_document(run=2), **TIMELESS})
    machine.upload(job_document(run=3))
    assert mirror_once(simulated_settings)
    assert {job["run"] for job in rows(simulated_settings, db.jobs)} == {1, 3}
    (aside,) = rows(simulated_settings, db.set_aside)
    assert aside["document_type"] == "dqm-source-state"
    assert "timestamp" in aside["reason"]


def test_it_mirrors_a_document_after_all_once_it_is_whole(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload({**job_document(run=2), **TIMELESS})
    assert mirror_once(simulated_settings)
    machine.upload(job_document(run=2))
    assert mirror_once(simulated_settings)
    assert len(rows(simulated_settings, db.jobs)) == 1
    assert rows(simulated_settings, db.set_aside) == []


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 1e400, "\ud800", "NaN", [[]], {}, True, None, -1, 2**80]
)
def test_it_mirrors_a_job_without_a_value_of_another_shape(
    simulator: Simulator, simulated_settings: Settings, value: Any
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document(events_total=value, events_rate=value))
    assert mirror_once(simulated_settings)
    (job,) = rows(simulated_settings, db.jobs)
    assert job["events_total"] is None
    assert job["lumisection"] == 10


def test_it_finds_the_document_that_spoils_a_batch_and_mirrors_the_others(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in range(1, 41):
        machine.upload(job_document(run=run, lumisections=1))
    machine.upload(job_document(run=41, lumisections=1))
    # What stands in the place of its JSON in every answer from now on.
    machine.stored()[-1].kept_wire = "{half a document"
    assert mirror_once(simulated_settings)
    assert len(rows(simulated_settings, db.jobs)) == 40
    (aside,) = rows(simulated_settings, db.set_aside)
    assert "JSON" in aside["reason"]


@pytest.mark.parametrize("kind", [FaultKind.GARBAGE, FaultKind.TRUNCATED, FaultKind.EMPTY])
def test_it_blames_no_document_for_a_bad_way(
    simulator: Simulator, simulated_settings: Settings, kind: FaultKind
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in range(1, 11):
        machine.upload(job_document(run=run, lumisections=1))
    simulator.faults.add(kind, machine=FILTER_UNIT)
    assert not mirror_once(simulated_settings)
    simulator.faults.clear()
    assert mirror_once(simulated_settings)
    assert len(rows(simulated_settings, db.jobs)) == 10
    assert rows(simulated_settings, db.set_aside) == []


def test_it_mirrors_a_document_whose_id_holds_half_a_surrogate_pair(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    simulator.machine(FILTER_UNIT).upload({**job_document(), "_id": "half of a pair: \ud800"})
    assert mirror_once(simulated_settings)
    assert len(rows(simulated_settings, db.jobs)) == 1
