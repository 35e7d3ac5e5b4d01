"""The cluster's status: what of it is none is told, and spoils neither the rest of it nor mirroring."""

import json
import logging
from collections.abc import Callable

import pytest

import db
from dqmsquare_cfg import Settings
from simulator.documents import job_document
from simulator.fault_injection import FaultKind, RequestKind
from simulator.http_types import Response
from simulator.simulator import Simulator
from storage.sync_status import LinkStatus
from tests.grabber_runner import (
    BUILDER_UNIT,
    FILTER_UNIT,
    OTHER_FILTER_UNIT,
    mirror_once,
    mirrored_runs,
    reader,
    rows,
)

Answers = Callable[[object], None]

UP = {"up": True, "msg": None}
# What may stand where a machine is told to be up or down.
NO_STATES: list[object] = [None, 17, "up", [], {}, {"up": None}, {"up": "yes"}, {"up": 1}, {**UP, "msg": 17}]
# Nested as deep as it can still be read, and can't be written again.
DEEP = '{"up": true, "msg": %s}' % ("[" * 1010 + "]" * 1010)


@pytest.fixture
def answers(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Has the gateway answer the question for the status with a text, or with a value as JSON."""

    def answer(status: object) -> None:
        body = status if isinstance(status, str) else json.dumps(status)
        commands = simulator.control.handlers
        monkeypatch.setitem(commands, "get_cluster_status", lambda _request: Response(200, body.encode()))

    return answer


def status_link(settings: Settings) -> LinkStatus:
    """What pages are told of the cluster's status."""
    freshness = reader(settings).sync_status()
    return freshness.status if freshness else LinkStatus()


def machines_told_of(settings: Settings) -> list[str]:
    return [machine.machine for machine in reader(settings).cluster_status()]


@pytest.mark.parametrize("no_state", [*map(json.dumps, NO_STATES), DEEP], ids=lambda text: text[:30])
def test_it_leaves_out_an_entry_that_is_none_and_keeps_the_others(
    simulated_settings: Settings, answers: Answers, caplog: pytest.LogCaptureFixture, no_state: str
) -> None:
    answers(f'{{"{BUILDER_UNIT}.cms": {json.dumps(UP)}, "{FILTER_UNIT}.cms": {no_state}, "ssh: no": {{}}}}')
    with caplog.at_level(logging.WARNING):
        assert mirror_once(simulated_settings)
    assert machines_told_of(simulated_settings) == ["dqmrubu-c2a06-.."]
    assert status_link(simulated_settings).failing_since is None
    assert caplog.messages == ["status_entries_skipped cluster=production entries=2"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({}, "the cluster status lists no machine"),
        ({f"{FILTER_UNIT}.cms": {}, f"{OTHER_FILTER_UNIT}.cms": None}, "the cluster status lists no machine"),
        ([], "the cluster status is not an object"),
        (
            {f"dqmfu-c2b03-{number}-01": UP for number in range(201)},
            "the cluster status lists 201 machines, more than 200",
        ),
    ],
    ids=["of none", "of nothing else than none", "no object", "of more than a cluster has"],
)
def test_it_tells_of_a_status_that_can_t_be_one_and_mirrors_on(
    simulator: Simulator, simulated_settings: Settings, answers: Answers, status: object, reason: str
) -> None:
    assert mirror_once(simulated_settings)
    before = machines_told_of(simulated_settings)
    answers(status)
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    assert mirror_once(simulated_settings)
    assert mirrored_runs(simulated_settings) == {1}
    assert status_link(simulated_settings).reason == reason
    assert machines_told_of(simulated_settings) == before != []


def test_it_takes_no_more_machines_out_of_status_answers_than_there_can_have_been(
    simulated_settings: Settings,
    answers: Answers,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("grabbing.scheduler._MAX_MACHINES", 5)
    for number in range(3):
        answers({f"{FILTER_UNIT}.cms": UP, f"a-{number}-1.cms": UP, f"a-{number}-2.cms": UP})
        assert mirror_once(simulated_settings)
        assert "dqmfu-c2b03-.." in machines_told_of(simulated_settings)
    assert len(rows(simulated_settings, db.machines)) == 5
    assert caplog.messages[-1] == "status_entries_skipped cluster=production entries=2"


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.ERROR_PAGE,
        FaultKind.GARBAGE,
        FaultKind.EMPTY_BODY,
        FaultKind.LOGIN_PAGE,
        FaultKind.CONNECTION_CLOSED,
    ],
)
def test_it_tells_of_a_status_that_is_none_and_mirrors_on(
    simulator: Simulator, simulated_settings: Settings, kind: FaultKind
) -> None:
    simulator.faults.add(kind, request_kind=RequestKind.CONTROL)
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    assert mirror_once(simulated_settings)
    assert mirrored_runs(simulated_settings) == {1}
    assert status_link(simulated_settings).reason
    simulator.faults.clear()
    assert mirror_once(simulated_settings)
    assert status_link(simulated_settings).failing_since is None
