"""Cluster status: invalid entries are reported, and affect neither the others nor mirroring."""

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
from tests.examples import core_of
from tests.grabber_runner import (
    BUILDER_UNIT,
    FILTER_UNIT,
    OTHER_FILTER_UNIT,
    count_rows,
    mirror_once,
    mirrored_runs,
    reader,
)

Answers = Callable[[object], None]

UP = {"up": True, "msg": None}
# Invalid states of a machine.
INVALID_STATES: list[object] = [
    None,
    17,
    "up",
    [],
    {},
    {"up": None},
    {"up": "yes"},
    {"up": 1},
    {**UP, "msg": 17},
]
# Nested so deeply that it can be parsed but not serialized.
DEEP = '{"up": true, "msg": %s}' % ("[" * 1010 + "]" * 1010)


@pytest.fixture
def answers(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Set the response to status requests: a text, or a value to be sent as JSON."""

    def answer(status: object) -> None:
        body = status if isinstance(status, str) else json.dumps(status)
        commands = simulator.control.handlers
        monkeypatch.setitem(commands, "get_cluster_status", lambda _request: Response(200, body.encode()))

    return answer


def status_link(settings: Settings) -> LinkStatus:
    """The status of the cluster status link as the pages see it."""
    freshness = reader(settings).cluster.sync_status()
    return freshness.status if freshness else LinkStatus()


def machines_with_status(settings: Settings) -> list[str]:
    return [machine.machine for machine in reader(settings).cluster.machine_statuses()]


def test_it_skips_invalid_entries_and_stores_the_others(
    simulated_settings: Settings, answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    invalid_states = [*map(json.dumps, INVALID_STATES), DEEP]
    invalid = [
        f'"dqmfu-c2b03-{number:02}-01.cms": {state}' for number, state in enumerate(invalid_states, start=1)
    ]
    answers(f'{{"{BUILDER_UNIT}.cms": {json.dumps(UP)}, {", ".join(invalid)}, "ssh: no": {{}}}}')
    with caplog.at_level(logging.WARNING):
        assert mirror_once(simulated_settings)
    assert machines_with_status(simulated_settings) == ["dqmrubu-c2a06-.."]
    assert status_link(simulated_settings).failing_since is None
    assert caplog.messages == ["status_entries_skipped cluster=production entries=11"]


# Statuses and their reasons, which alternate: a reason must not be left of the status before.
IMPLAUSIBLE: list[tuple[object, str]] = [
    ({}, "the cluster status lists no machine"),
    ([], "the cluster status is not an object"),
    ({f"{FILTER_UNIT}.cms": {}, f"{OTHER_FILTER_UNIT}.cms": None}, "the cluster status lists no machine"),
    (
        {f"dqmfu-c2b03-{number}-01": UP for number in range(201)},
        "the cluster status lists 201 machines, more than 200",
    ),
]


def test_it_reports_an_implausible_status_and_continues_mirroring(
    simulator: Simulator, simulated_settings: Settings, answers: Answers
) -> None:
    assert mirror_once(simulated_settings)
    before = machines_with_status(simulated_settings)
    for run, (status, reason) in enumerate(IMPLAUSIBLE):
        answers(status)
        simulator.machine(FILTER_UNIT).upload(job_document(run=run))
        assert mirror_once(simulated_settings)
        assert run in mirrored_runs(simulated_settings)
        assert status_link(simulated_settings).reason == reason
        assert machines_with_status(simulated_settings) == before != []


def test_it_limits_the_machines_that_status_responses_can_add(
    simulated_settings: Settings,
    answers: Answers,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("grabbing.cluster_status_writer._MAX_MACHINES", 5)
    for number in range(3):
        answers({f"{FILTER_UNIT}.cms": UP, f"a-{number}-1.cms": UP, f"a-{number}-2.cms": UP})
        assert mirror_once(simulated_settings)
        assert "dqmfu-c2b03-.." in machines_with_status(simulated_settings)
    assert count_rows(simulated_settings, db.machines) == 5
    assert caplog.messages[-1] == "status_entries_skipped cluster=production entries=2"


@pytest.mark.parametrize(
    "kind",
    core_of(
        [
            FaultKind.ERROR_PAGE,
            FaultKind.GARBAGE,
            FaultKind.EMPTY_BODY,
            FaultKind.LOGIN_PAGE,
            FaultKind.CONNECTION_CLOSED,
        ],
        FaultKind.GARBAGE,
    ),
)
def test_it_reports_a_failed_status_request_and_continues_mirroring(
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
