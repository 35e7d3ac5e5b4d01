"""Quarantine: a document that cannot be parsed is set apart with the reason; later ones are mirrored."""

import math
from typing import Any

import pytest

import db
from dqm2 import sync_messages
from dqmsquare_cfg import Cluster, Settings
from simulator.documents import job_document
from simulator.fault_injection import FaultKind, RequestKind
from simulator.simulator import Simulator
from tests.examples import core_of, long
from tests.grabber_runner import FILTER_UNIT, ROOT, count_rows, metric, mirror_once, requests_to, rows
from tools.deploy_check import manifests
from tools.render_manifests import Target

LABEL = "dqmfu-c2b03-.."
# Without either, a document is invalid.
TIMELESS = {"timestamp": None, "report_timestamp": None}
# Memory that a parsed response may take.
PARSED_MB = sync_messages._MAX_PARSED_BYTES // 1024**2


def test_it_quarantines_a_document_without_a_time_and_reports_it(
    simulator: Simulator, simulated_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    before = metric("documents_quarantined_total", LABEL)
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    machine.upload({**job_document(run=2), **TIMELESS})
    machine.upload(job_document(run=3))
    assert mirror_once(simulated_settings)
    assert {job["run"] for job in rows(simulated_settings, db.jobs)} == {1, 3}
    (quarantined,) = rows(simulated_settings, db.quarantined_documents)
    assert quarantined["document_type"] == "dqm-source-state"
    assert "timestamp" in quarantined["reason"]
    assert metric("documents_quarantined_total", LABEL) == before + 1
    assert f"document_quarantined host={LABEL} type=dqm-source-state revision=2" in caplog.text


@pytest.mark.parametrize(
    ("unit", "times", "limit_mb"),
    [
        ([{"a": 1}], 75_000, 16),
        ("\U0001f600", 180_000, 16),
        long([{"a": 1}], 1_100_000, PARSED_MB),
        long("\U0001f600", 2_600_000, PARSED_MB),
    ],
)
def test_it_quarantines_a_document_that_would_take_too_much_memory(
    simulator: Simulator,
    simulated_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    unit: list[object] | str,
    times: int,
    limit_mb: int,
) -> None:
    """Objects of 0.7 MB, or a text of 2 MB with characters of four bytes, would take 20 MB.

    Those of `make test-all` are fifteen times as large, for the limit of production.
    """
    monkeypatch.setattr("dqm2.sync_messages._MAX_PARSED_BYTES", limit_mb * 1024**2)
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    machine.upload(job_document(run=2, extra={"value": unit * times}))
    machine.upload(job_document(run=3))
    machine.cache_json()
    assert mirror_once(simulated_settings)
    assert {job["run"] for job in rows(simulated_settings, db.jobs)} == {1, 3}
    (quarantined,) = rows(simulated_settings, db.quarantined_documents)
    reason = f"no valid response: the response would take more than {limit_mb} MB of memory"
    assert quarantined["reason"] == reason


def test_a_response_takes_at_most_a_third_of_the_memory_that_a_grabber_has() -> None:
    """The rest is for the response itself, parser processes and everything else."""
    limits = [
        pod.main["resources"]["limits"]["memory"]
        for pod in manifests.read(ROOT, Target.PRODUCTION).pods()
        if pod.role.startswith("grabber")
    ]
    assert len(limits) == len(Cluster)
    assert {limit[-2:] for limit in limits} == {"Mi"}
    assert min(int(limit[:-2]) for limit in limits) >= 3 * PARSED_MB


def test_it_mirrors_a_quarantined_document_once_it_is_valid(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload({**job_document(run=2), **TIMELESS})
    assert mirror_once(simulated_settings)
    machine.upload(job_document(run=2))
    assert mirror_once(simulated_settings)
    assert count_rows(simulated_settings, db.jobs) == 1
    assert rows(simulated_settings, db.quarantined_documents) == []


def test_it_mirrors_a_job_without_its_invalid_values(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    values: list[Any] = [math.nan, math.inf, 1e400, "\ud800", "NaN", [[]], {}, True, None, -1, 2**80]
    for run, value in enumerate(values, start=1):
        simulator.machine(FILTER_UNIT).upload(job_document(run=run, events_total=value, events_rate=value))
    assert mirror_once(simulated_settings)
    jobs = rows(simulated_settings, db.jobs)
    found = {job["run"]: (job["events_total"], job["lumisection"]) for job in jobs}
    assert found == dict.fromkeys(range(1, len(values) + 1), (None, 10))


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ("{half a document", "JSON"),
        long("null", "is not a document"),
        (r"{\"_id\": \"another\", \"_rev\": 41}", "that was not requested"),
    ],
)
def test_it_isolates_the_document_that_spoils_a_batch(
    simulator: Simulator, simulated_settings: Settings, wire: str, reason: str
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in range(1, 41):
        machine.upload(job_document(run=run, lumisections=1))
    machine.upload(job_document(run=41, lumisections=1))
    # This replaces its JSON in every response.
    machine.stored()[-1].cached_json = wire
    assert mirror_once(simulated_settings)
    assert count_rows(simulated_settings, db.jobs) == 40
    (quarantined,) = rows(simulated_settings, db.quarantined_documents)
    assert reason in quarantined["reason"]


def test_it_requests_large_batches_again_behind_a_bad_document(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in range(1, 201):
        machine.upload(job_document(run=run, lumisections=1))
    machine.stored()[0].cached_json = "{half a document"
    assert mirror_once(simulated_settings)
    assert count_rows(simulated_settings, db.jobs) == 199
    requests = [event for event, _ in requests_to(simulator, FILTER_UNIT) if event == "request_documents"]
    assert len(requests) < 40


def test_it_quarantines_a_document_that_exceeds_the_size_limit(
    simulator: Simulator, simulated_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dqm2.client._DOCUMENTS_BYTES", 100_000)
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    machine.upload(job_document(run=2, extra={"stdlog_end": ["x" * 99 + "\n"] * 1000}))
    assert mirror_once(simulated_settings)
    assert [job["run"] for job in rows(simulated_settings, db.jobs)] == [1]
    (quarantined,) = rows(simulated_settings, db.quarantined_documents)
    assert "longer than 100000 bytes" in quarantined["reason"]


@pytest.mark.parametrize(
    "kind",
    core_of([FaultKind.GARBAGE, FaultKind.BODY_TRUNCATED, FaultKind.EMPTY_BODY], FaultKind.BODY_TRUNCATED),
)
def test_it_quarantines_nothing_when_all_responses_are_bad(
    simulator: Simulator, simulated_settings: Settings, kind: FaultKind
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in range(1, 11):
        machine.upload(job_document(run=run, lumisections=1))
    simulator.faults.add(kind, machine=FILTER_UNIT)
    assert not mirror_once(simulated_settings)
    simulator.faults.clear()
    assert mirror_once(simulated_settings)
    assert count_rows(simulated_settings, db.jobs) == 10
    assert rows(simulated_settings, db.quarantined_documents) == []


@pytest.mark.parametrize(
    "kind",
    core_of(
        [
            FaultKind.GARBAGE,
            FaultKind.BODY_TRUNCATED,
            FaultKind.EMPTY_BODY,
            FaultKind.ERROR_PAGE,
            FaultKind.BODY_INTERRUPTED,
            FaultKind.LOGIN_PAGE,
            FaultKind.WRONG_RESPONSE,
        ],
        FaultKind.WRONG_RESPONSE,
    ),
)
def test_it_quarantines_nothing_when_all_responses_with_documents_are_bad(
    simulator: Simulator, simulated_settings: Settings, kind: FaultKind
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in range(1, 11):
        machine.upload(job_document(run=run, lumisections=1))
    simulator.faults.add(kind, machine=FILTER_UNIT, request_kind=RequestKind.DOCUMENTS)
    assert not mirror_once(simulated_settings)
    assert rows(simulated_settings, db.quarantined_documents) == []
    simulator.faults.clear()
    assert mirror_once(simulated_settings)
    assert count_rows(simulated_settings, db.jobs) == 10


def quarantine_and_recover(simulator: Simulator, settings: Settings) -> None:
    """Mirror a machine that sends half a document, and recovers without an update of it."""
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    machine.upload(job_document(run=2))
    stored = machine.stored()[0]
    stored.cached_json = "{half a document"
    assert mirror_once(settings)
    assert {job["run"] for job in rows(settings, db.jobs)} == {2}
    stored.cached_json = None


def test_it_retries_quarantined_documents(simulator: Simulator, simulated_settings: Settings) -> None:
    quarantine_and_recover(simulator, simulated_settings)
    assert mirror_once(simulated_settings)
    assert {job["run"] for job in rows(simulated_settings, db.jobs)} == {1, 2}
    assert rows(simulated_settings, db.quarantined_documents) == []


def test_it_retries_quarantined_documents_for_longer_than_a_time_slice(
    simulator: Simulator, simulated_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarantine_and_recover(simulator, simulated_settings)
    # Each batch ends a slice, although there is no new document.
    monkeypatch.setattr("grabbing.machine_sync._SLICE_S", -1.0)
    assert mirror_once(simulated_settings)
    assert {job["run"] for job in rows(simulated_settings, db.jobs)} == {1, 2}


def test_it_forgets_a_quarantined_document_that_dqm2_has_no_longer(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in (1, 2):
        machine.upload({**job_document(run=run), **TIMELESS})
    machine.upload(job_document(run=3))
    assert mirror_once(simulated_settings)
    assert count_rows(simulated_settings, db.quarantined_documents) == 2
    machine.delete(machine.stored()[0].header.document_id)
    assert mirror_once(simulated_settings)
    (remaining,) = rows(simulated_settings, db.quarantined_documents)
    assert remaining["revision"] == 2


def test_it_forgets_nothing_because_of_an_incomplete_response(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload({**job_document(run=1), **TIMELESS})
    machine.upload(job_document(run=2))
    assert mirror_once(simulated_settings)
    machine.delete(machine.stored()[0].header.document_id)
    simulator.faults.add(FaultKind.GARBAGE, machine=FILTER_UNIT, request_kind=RequestKind.HEADERS)
    assert not mirror_once(simulated_settings)
    assert count_rows(simulated_settings, db.quarantined_documents) == 1
    simulator.faults.clear()
    assert mirror_once(simulated_settings)
    assert rows(simulated_settings, db.quarantined_documents) == []


def test_it_forgets_quarantined_documents_that_a_reset_deleted(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload({**job_document(run=1), **TIMELESS})
    machine.upload({**job_document(run=2), **TIMELESS})
    assert mirror_once(simulated_settings)
    machine.reset()
    machine.upload({**job_document(run=2), **TIMELESS})
    assert mirror_once(simulated_settings)
    (remaining,) = rows(simulated_settings, db.quarantined_documents)
    assert (remaining["epoch"], remaining["revision"]) == (1, 1)


def test_it_quarantines_a_document_older_than_its_header(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    old = machine.stored()[0].escaped_json()
    machine.upload(job_document(run=1, lumisections=11))
    machine.upload(job_document(run=2))
    machine.stored()[0].cached_json = old
    assert mirror_once(simulated_settings)
    assert {job["run"] for job in rows(simulated_settings, db.jobs)} == {2}
    (quarantined,) = rows(simulated_settings, db.quarantined_documents)
    assert "older" in quarantined["reason"]


def test_it_advances_and_counts_as_failing_when_most_documents_are_bad(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in range(1, 31):
        machine.upload(job_document(run=run, lumisections=1))
    for stored in machine.stored()[:-1]:
        stored.cached_json = "{half a document"
    advanced = [0]
    while advanced[-1] < 30:
        before = len(simulator.requests)
        is_whole = mirror_once(simulated_settings)
        advanced.append(revision(simulated_settings))
        assert advanced[-1] > advanced[-2]
        assert is_whole == (advanced[-1] == 30)
        # Two attempts with few requests each, and the requests to other machines.
        assert len(simulator.requests) - before < 100
    assert count_rows(simulated_settings, db.quarantined_documents) == 29
    assert {job["run"] for job in rows(simulated_settings, db.jobs)} == {30}


def revision(settings: Settings) -> int:
    """The highest revision up to which a machine is mirrored."""
    return max(machine["revision"] or 0 for machine in rows(settings, db.machines))


def test_it_mirrors_a_document_with_a_lone_surrogate_in_its_id(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    simulator.machine(FILTER_UNIT).upload({**job_document(), "_id": "half of a pair: \ud800"})
    assert mirror_once(simulated_settings)
    assert count_rows(simulated_settings, db.jobs) == 1
