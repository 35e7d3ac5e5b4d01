"""Failures of machines, gateway and CMSWEB: reported, isolated, and recovered from without a restart."""

import dataclasses
import re
import shutil
import ssl
import tracemalloc
from collections.abc import Sequence
from datetime import timedelta
from itertools import cycle, pairwise
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives import serialization

import db
from dqm2 import network_errors
from dqm2.client import Dqm2Client
from dqm2.errors import Dqm2Error, Dqm2Refused, Dqm2Unreachable
from dqmsquare_cfg import Settings, load
from runtime import logging_setup
from simulator import sync_endpoint
from simulator.certificates import CertificateAuthority
from simulator.documents import job_document
from simulator.fault_injection import WRONG_TYPES, FaultKind, RequestKind
from simulator.http_types import Request
from simulator.machines import DocumentHeader
from simulator.simulator import Simulator
from tests.bad_front_end import PARTIAL_RESPONSES, answering, dripping, front_end
from tests.examples import core_of, long
from tests.grabber_runner import (
    BUILDER_UNIT,
    FILTER_UNIT,
    OTHER_FILTER_UNIT,
    differences,
    gateway_link,
    grabber_process,
    machine_links,
    mirror_once,
    mirrored_runs,
    poll_pauses_s,
    reader,
    requests_to,
    rows,
    running_grabber,
    wait_for_log,
)
from tests.served import free_port
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres

BAD_RESPONSES = [
    FaultKind.ERROR_PAGE,
    FaultKind.CONNECTION_REFUSED,
    FaultKind.CONNECTION_CLOSED,
    FaultKind.BODY_INTERRUPTED,
    FaultKind.BODY_TRUNCATED,
    FaultKind.EMPTY_BODY,
    FaultKind.GARBAGE,
    FaultKind.LOGIN_REDIRECT,
    FaultKind.LOGIN_PAGE,
    FaultKind.WRONG_RESPONSE,
]
_OK = b"HTTP/1.1 200 OK\r\n"
# Of the places with wrong types, `make test` tries each sixth.
ONE_IN = pytest.mark.parametrize("one_in", [pytest.param(6, id="one in six"), long(1, id="all")])


def test_it_mirrors_other_machines_while_one_is_dead(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    simulator.machine(FILTER_UNIT).is_dead = True
    simulator.machine(OTHER_FILTER_UNIT).upload(job_document(run=1, host=OTHER_FILTER_UNIT))
    assert not mirror_once(simulated_settings)
    assert mirrored_runs(simulated_settings) == {1}
    dead, alive = (
        machine_links(simulated_settings)["dqmfu-c2b03-.."],
        machine_links(simulated_settings)["dqmfu-c2b04-.."],
    )
    assert dead.failing_since is not None
    assert dead.reason == "answered with status 500"
    assert alive.failing_since is None
    assert alive.last_success_at is not None


def test_it_mirrors_other_machines_between_a_dead_one_and_the_status(
    simulator: Simulator, brisk_settings: Settings
) -> None:
    simulator.machine(FILTER_UNIT).is_dead = True
    with running_grabber(brisk_settings):
        status = simulator.recorder.wait_for(lambda request: ("what", "get_cluster_status") in request.query)
    dead = max(
        request.ended_s
        for _, request in requests_to(simulator, FILTER_UNIT)
        if request.ended_s < status.started_s
    )
    for host in (BUILDER_UNIT, OTHER_FILTER_UNIT):
        assert any(dead < request.started_s < status.started_s for _, request in requests_to(simulator, host))


def is_reported_failing(settings: Settings) -> bool:
    """Whether the pages show a failing gateway or machine with its reason."""
    all_links = [gateway_link(settings), *machine_links(settings).values()]
    return any(link.failing_since is not None and link.reason for link in all_links)


# One that the client, one that the connection and one that the parser finds out.
@pytest.mark.parametrize(
    "kind",
    core_of(BAD_RESPONSES, FaultKind.ERROR_PAGE, FaultKind.CONNECTION_REFUSED, FaultKind.BODY_INTERRUPTED),
)
def test_it_recovers_from_bad_responses_at_the_next_attempt_and_loses_nothing(
    simulator: Simulator, brisk_settings: Settings, kind: FaultKind
) -> None:
    simulator.faults.add(kind)
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    with running_grabber(brisk_settings):
        until(lambda: is_reported_failing(brisk_settings))
        simulator.machine(FILTER_UNIT).upload(job_document(run=2))
        before: list[int] = []

        def recover(*_: Request) -> None:
            if not before:
                before.append(len(requests_to(simulator, FILTER_UNIT)))
                simulator.faults.clear()

        # With a request, before which no other can fail; refused connections bring none.
        simulator.on_request = recover
        if kind is FaultKind.CONNECTION_REFUSED:
            recover()
        until(lambda: mirrored_runs(brisk_settings) == {1, 2})
        until(lambda: not is_reported_failing(brisk_settings))
    assert rows(brisk_settings, db.quarantined_documents) == []
    events = [event for event, _ in requests_to(simulator, FILTER_UNIT)[before[0] :]]
    # The attempt may have begun; the next one starts with a probe.
    assert events.index("request_documents") <= 3


def test_it_uses_a_renewed_certificate_for_new_requests(
    simulator: Simulator, brisk_settings: Settings
) -> None:
    def newest_serial() -> int | None:
        return simulator.requests[-1].client_serial if simulator.requests else None

    with running_grabber(brisk_settings):
        until(newest_serial)
        before = newest_serial()
        simulator.authority.renew_client()
        until(lambda: newest_serial() != before)


def test_it_recovers_after_the_gateway_hung(
    simulator: Simulator, brisk_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dqm2.client._READ_S", 1.0)
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    simulator.faults.add(FaultKind.LATENCY, 3600)
    with running_grabber(brisk_settings):
        until(lambda: gateway_link(brisk_settings).reason == "no response: timed out")
        simulator.faults.clear()
        until(lambda: mirrored_runs(brisk_settings) == {1})
        until(lambda: not is_reported_failing(brisk_settings))


def test_it_waits_longer_for_many_headers_of_a_machine_that_answers(
    simulator: Simulator, brisk_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dqm2.client._READ_S", 1.0)

    # Of a request for all headers, the response begins later than that.
    def delay_all_headers(request: Request) -> None:
        simulator.faults.clear()
        if b'known_rev\\": null' in request.body:
            simulator.faults.add(FaultKind.LATENCY, 2.0)

    monkeypatch.setattr(simulator, "on_request", delay_all_headers)
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    with running_grabber(brisk_settings):
        until(lambda: mirrored_runs(brisk_settings) == {1})
        until(lambda: not is_reported_failing(brisk_settings))


def test_it_keeps_no_cookies_of_responses(simulator: Simulator, simulated_settings: Settings) -> None:
    """With new names in each response, they would grow without end."""
    set_cookies = answering(b"HTTP/1.1 200 OK\r\nSet-Cookie: one=1\r\nSet-Cookie: two=2\r\n\r\n[]")
    with front_end(simulator, simulated_settings, set_cookies) as settings:
        client = Dqm2Client(settings)
        assert client.get_documents(FILTER_UNIT, ["a document"]) == b"[]"
        assert client._session is not None
        assert list(client._session.cookies) == []
        client.close()


def test_it_logs_no_malformed_header_at_each_response(
    simulator: Simulator, simulated_settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    malformed = answering(b"HTTP/1.1 200 OK\r\nThis is no header\r\n\r\n[]")
    logging_setup.configure(simulated_settings, "tests", debug=False, redact=str)
    with front_end(simulator, simulated_settings, malformed) as settings:
        client = Dqm2Client(settings)
        assert client.get_documents(FILTER_UNIT, ["a document"])
        client.close()
    assert "urllib3" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", [RequestKind.HEADERS, RequestKind.DOCUMENTS])
def test_it_names_a_page_to_sign_in(
    simulator: Simulator, simulated_settings: Settings, kind: RequestKind
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    simulator.faults.add(FaultKind.LOGIN_PAGE, machine=FILTER_UNIT, request_kind=kind)
    assert not mirror_once(simulated_settings)
    link = machine_links(simulated_settings)["dqmfu-c2b03-.."]
    assert link.reason == "the response is an HTML page, perhaps to sign in, and not JSON"


def error_of_response(simulator: Simulator, simulated_settings: Settings, response: bytes) -> Dqm2Error:
    """The error that a client raises for a response of the front end."""
    with front_end(simulator, simulated_settings, answering(response)) as settings:
        client = Dqm2Client(settings)
        with pytest.raises(Dqm2Error) as raised:
            client.get_headers(FILTER_UNIT, None)
        client.close()
    return raised.value


def test_it_takes_too_many_requests_for_a_failure_of_the_gateway(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    """The front end counts the requests to all machines."""
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
    error = error_of_response(simulator, simulated_settings, refusal)
    assert isinstance(error, Dqm2Unreachable)
    assert "too many requests" in str(error)


def test_it_does_not_look_where_a_redirect_leads(simulator: Simulator, simulated_settings: Settings) -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n"
    error = error_of_response(simulator, simulated_settings, redirect)
    assert isinstance(error, Dqm2Refused)
    assert "redirected with status 302" in str(error)


def test_it_says_in_words_what_is_wrong_with_a_response(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    for response, reason in (
        (b"", "no response: the connection was closed"),
        (b"<html>\r\n\r\n", "no response: not valid HTTP"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "no response: not valid HTTP"),
        (_OK + b"Content-Length: 1, 2\r\n\r\n", "no response: not valid HTTP"),
        (_OK + b"X: a\r\n" * 200 + b"\r\n", "no response: not valid HTTP"),
        (_OK + b"X: " + b"a" * 70_000 + b"\r\n\r\n", "no response: a line is too long"),
        (_OK + b"Transfer-Encoding: chunked\r\n\r\nz\r\n", "the response was interrupted: not valid HTTP"),
        (_OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n", "the response was interrupted: incomplete"),
    ):
        assert str(error_of_response(simulator, simulated_settings, response)) == reason


def test_small_chunks_take_no_more_memory_than_large_ones(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    chunks = 15_000
    response = _OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"2\r\nab\r\n" * chunks + b"0\r\n\r\n"
    with front_end(simulator, simulated_settings, answering(response)) as settings:
        client = Dqm2Client(settings)
        tracemalloc.start()
        assert len(client.get_documents(FILTER_UNIT, ["an id"])) == 2 * chunks
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        client.close()
    assert peak_bytes < 10 * 2 * chunks


@pytest.mark.parametrize("begun", PARTIAL_RESPONSES)
def test_it_times_out_on_a_response_that_trickles(
    simulator: Simulator, simulated_settings: Settings, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr("dqm2.client._HEADERS_S", 1.0)
    with front_end(simulator, simulated_settings, dripping(begun)) as settings:
        client = Dqm2Client(settings)
        with pytest.raises(Dqm2Unreachable, match=r"timed out|took longer than 1 s"):
            client.get_headers(FILTER_UNIT, None)


@pytest.mark.parametrize(
    ("kind", "event", "counted"),
    [
        (
            FaultKind.ERROR_PAGE,
            'machine_sync_failed host=dqmfu-c2b03-.. failures=1 reason="answered with status 500"',
            'errors_total{cluster="production",error="Dqm2Failed",machine="dqmfu-c2b03-.."}',
        ),
        (
            FaultKind.LOGIN_REDIRECT,
            'gateway_failed cluster=production failures=1 reason="redirected with status 303',
            'errors_total{cluster="production",error="Dqm2Refused",machine="dqmfu-c2b03-.."}',
        ),
    ],
    ids=["machine", "gateway"],
)
def test_it_logs_and_counts_failures(
    simulator: Simulator, simulated_environment: dict[str, str], kind: FaultKind, event: str, counted: str
) -> None:
    port = free_port()
    simulator.faults.add(kind, machine=FILTER_UNIT)
    given = {**simulated_environment, "GRABBER_PRODUCTION_METRICS_PORT": port}
    with grabber_process(given, "production") as grabber:
        wait_for_log(grabber, event)
        metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S).text
        # Perhaps more than one by now.
        assert re.search(rf"{re.escape(counted)} [1-9]", metrics)


@pytest.mark.parametrize(
    "kind",
    core_of(
        [FaultKind.CONNECTION_CLOSED, FaultKind.LOGIN_REDIRECT, FaultKind.ERROR_PAGE],
        FaultKind.CONNECTION_CLOSED,
    ),
)
def test_it_mirrors_other_machines_while_the_responses_of_two_are_bad(
    simulator: Simulator, brisk_settings: Settings, kind: FaultKind
) -> None:
    simulator.faults.add(kind, machine=BUILDER_UNIT)
    simulator.faults.add(kind, machine=FILTER_UNIT)
    with running_grabber(brisk_settings):
        for run in (1, 2, 3):
            simulator.machine(OTHER_FILTER_UNIT).upload(job_document(run=run, host=OTHER_FILTER_UNIT))
            until(lambda run=run: run in mirrored_runs(brisk_settings))  # type: ignore[misc]


def mirror_wrong_types(simulator: Simulator, settings: Settings, places: Sequence[str]) -> dict[int, str]:
    """Mirror with each of the places having a wrong type; return the affected jobs' runs with their machine.

    Two machines have one each in a pass, which must mirror the third machine's job.
    """
    numbers = [list(WRONG_TYPES).index(place) for place in places]
    affected = (FILTER_UNIT, BUILDER_UNIT)
    hosts = {number + 1: host for number, host in zip(numbers, cycle(affected), strict=False)}
    for first in range(0, len(numbers), len(affected)):
        pair = numbers[first : first + len(affected)]
        for number in pair:
            host = hosts[number + 1]
            simulator.faults.add(FaultKind.WRONG_TYPES, number, machine=host)
            simulator.machine(host).upload(job_document(run=number + 1, host=host, lumisections=1))
        other = job_document(run=1000 + first, host=OTHER_FILTER_UNIT, lumisections=1)
        simulator.machine(OTHER_FILTER_UNIT).upload(other)
        mirror_once(settings)
        assert 1000 + first in mirrored_runs(settings), [list(WRONG_TYPES)[number] for number in pair]
        simulator.faults.clear()
    return hosts


@ONE_IN
def test_it_survives_wrong_types_in_responses_and_loses_nothing(
    simulator: Simulator, simulated_settings: Settings, one_in: int
) -> None:
    of_answers = [place for place in WRONG_TYPES if not place.startswith("a document's")][::one_in]
    uploaded = mirror_wrong_types(simulator, simulated_settings, of_answers)
    assert mirror_once(simulated_settings)
    assert mirrored_runs(simulated_settings) >= set(uploaded)
    assert rows(simulated_settings, db.quarantined_documents) == []
    assert {job["epoch"] for job in rows(simulated_settings, db.jobs)} == {0}


@pytest.mark.parametrize("is_repaired", [True, False], ids=["transient", "permanent"])
def test_it_retries_once_before_it_skips_an_invalid_header(
    simulator: Simulator, simulated_settings: Settings, *, is_repaired: bool
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    for run in (1, 2, 3):
        machine.upload(job_document(run=run))
    invalid = machine.stored()[1]
    valid_header = invalid.header
    invalid.header = dataclasses.replace(valid_header, document_id=None)  # type: ignore[arg-type]

    def repair(request: Request) -> None:
        if is_repaired and requests_to(simulator, FILTER_UNIT) and b"sync_request" in request.body:
            invalid.header = valid_header

    simulator.on_request = repair
    assert mirror_once(simulated_settings)
    assert mirrored_runs(simulated_settings) == ({1, 2, 3} if is_repaired else {1, 3})


@pytest.mark.parametrize("is_repaired", [True, False], ids=["transient", "permanent"])
def test_it_retries_once_before_it_skips_headers_that_are_counted_but_missing(
    simulator: Simulator, simulated_settings: Settings, monkeypatch: pytest.MonkeyPatch, *, is_repaired: bool
) -> None:
    monkeypatch.setattr(sync_endpoint, "HEADERS_PER_MESSAGE", 1)
    whole = sync_endpoint.header_messages

    def without_second(headers: Sequence[DocumentHeader]) -> list[str]:
        first, _lost, *others = whole(headers)
        if is_repaired:
            monkeypatch.setattr(sync_endpoint, "header_messages", whole)
        return [first, *others]

    for run in (1, 2, 3):
        simulator.machine(FILTER_UNIT).upload(job_document(run=run))
    monkeypatch.setattr(
        sync_endpoint, "header_messages", lambda headers: without_second(headers) if headers else []
    )
    assert mirror_once(simulated_settings)
    assert mirrored_runs(simulated_settings) == ({1, 2, 3} if is_repaired else {1, 3})


def test_it_does_not_take_a_missing_header_for_a_reset(
    simulator: Simulator, simulated_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a whole response without the checkpoint's document proves that revisions started over."""
    monkeypatch.setattr(sync_endpoint, "HEADERS_PER_MESSAGE", 1)
    for run in (1, 2, 3):
        simulator.machine(FILTER_UNIT).upload(job_document(run=run))
    assert mirror_once(simulated_settings)
    simulator.machine(FILTER_UNIT).upload(job_document(run=4))
    whole = sync_endpoint.header_messages
    with monkeypatch.context() as patched:
        patched.setattr(sync_endpoint, "header_messages", lambda headers: whole(headers)[1:])
        assert not mirror_once(simulated_settings)
    assert mirrored_runs(simulated_settings) == {1, 2, 3}
    assert mirror_once(simulated_settings)
    assert mirrored_runs(simulated_settings) == {1, 2, 3, 4}
    assert {machine["epoch"] for machine in rows(simulated_settings, db.machines)} == {0}


@ONE_IN
def test_it_survives_wrong_types_in_documents_and_mirrors_their_next_versions(
    simulator: Simulator, simulated_settings: Settings, one_in: int
) -> None:
    of_documents = [place for place in WRONG_TYPES if place.startswith("a document's")][::one_in]
    for run, host in mirror_wrong_types(simulator, simulated_settings, of_documents).items():
        simulator.machine(host).upload(job_document(run=run, host=host, lumisections=2))
    assert mirror_once(simulated_settings)
    assert differences(simulated_settings, simulator) == []
    assert rows(simulated_settings, db.quarantined_documents) == []


@pytest.mark.parametrize("kind", [FaultKind.NAN, FaultKind.LONE_SURROGATES])
def test_it_mirrors_json_that_strict_parsers_reject(
    simulator: Simulator, simulated_settings: Settings, kind: FaultKind
) -> None:
    simulator.faults.add(kind)
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    assert mirror_once(simulated_settings)
    assert mirrored_runs(simulated_settings) == {1}


@pytest.mark.parametrize("kind", core_of([FaultKind.ERROR_PAGE, FaultKind.GARBAGE], FaultKind.GARBAGE))
def test_it_backs_off_from_a_failing_machine(
    simulator: Simulator, brisk_settings: Settings, kind: FaultKind
) -> None:
    simulator.faults.add(kind)
    with running_grabber(brisk_settings):
        until(lambda: len(poll_pauses_s(simulator, FILTER_UNIT)) >= 4)
    least_s = [brisk_settings.grabber_sleep_time_info * 2**times for times in range(4)]
    assert all(
        pause >= least for pause, least in zip(poll_pauses_s(simulator, FILTER_UNIT), least_s, strict=False)
    )


def test_it_requests_a_failing_gateway_at_most_once_per_interval(
    simulator: Simulator, brisk_settings: Settings
) -> None:
    simulator.faults.add(FaultKind.LOGIN_REDIRECT)
    with running_grabber(brisk_settings):
        until(lambda: len(simulator.requests) >= 5)
    spans = [(request.started_s, request.ended_s) for request in simulator.requests]
    pauses = [began - ended for (_, ended), (began, _) in pairwise(spans)]
    assert min(pauses) >= brisk_settings.grabber_sleep_time_info


@pytest.mark.long
def test_it_mirrors_a_document_of_50_mb(simulator: Simulator, simulated_settings: Settings) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    line = "Begin processing the 1st record. Run 358788, Event 1, LumiSection 1\n"
    machine.upload(job_document(run=2, extra={"stdlog_end": [line] * (50_000_000 // len(line))}))
    machine.upload(job_document(run=3))
    machine.cache_json()
    assert mirror_once(simulated_settings)
    assert mirrored_runs(simulated_settings) == {1, 2, 3}


def test_it_recovers_after_the_gateway_was_down(simulator: Simulator, brisk_settings: Settings) -> None:
    with running_grabber(brisk_settings):
        until(lambda: simulator.requests)
        simulator.stop()
        until(lambda: (fresh := reader(brisk_settings).cluster.sync_status()) and fresh.gateway.failing_since)
        simulator.machine(FILTER_UNIT).upload(job_document(run=1))
        simulator.start()
        until(lambda: mirrored_runs(brisk_settings) == {1})
        until(
            lambda: (
                (fresh := reader(brisk_settings).cluster.sync_status()) and not fresh.gateway.failing_since
            )
        )


def test_it_reports_an_untrusted_server_certificate(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    simulator.use_certificate(expired=True)
    assert not mirror_once(simulated_settings)
    freshness = reader(simulated_settings).cluster.sync_status()
    assert freshness is not None
    assert "certificate verify failed" in (freshness.gateway.reason or "")
    assert "set CMSWEB_CA_PATH" in (freshness.gateway.reason or "")
    simulator.use_certificate(expired=False)
    assert mirror_once(simulated_settings)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_it_skips_verification_if_configured(
    simulator: Simulator, simulated_environment: dict[str, str]
) -> None:
    simulator.use_certificate(expired=True)
    assert mirror_once(load({**simulated_environment, "CMSWEB_CA_PATH": "INSECURE-DO-NOT-VERIFY"}))


def test_it_mirrors_with_a_wrong_secret_and_reports_it_for_the_status(
    simulator: Simulator, simulated_environment: dict[str, str]
) -> None:
    settings = load({**simulated_environment, "DQM_FFF_SECRET": "not-that-one"})
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    assert mirror_once(settings)
    assert mirrored_runs(settings) == {1}
    freshness = reader(settings).cluster.sync_status()
    assert freshness is not None
    assert "DQM_FFF_SECRET" in (freshness.status.reason or "")
    assert "not-that-one" not in str(freshness)


def test_it_reports_the_setting_whose_file_is_missing(
    simulated_environment: dict[str, str], tmp_path: Path
) -> None:
    for setting in ("SERVER_GRID_CERT_PATH", "SERVER_GRID_KEY_PATH", "CMSWEB_CA_PATH"):
        settings = load({**simulated_environment, setting: str(tmp_path / "none.pem")})
        assert not mirror_once(settings)
        assert gateway_link(settings).reason == f"{setting} can't be read: No such file or directory"


def test_it_reports_the_setting_whose_file_holds_something_else(
    simulated_environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "notes.pem").write_text("ask Jane for the certificate\n")
    no_pair = (
        "SERVER_GRID_CERT_PATH and SERVER_GRID_KEY_PATH must be a certificate and its key "
        "without a passphrase (OpenSSL: not in PEM format)"
    )
    for setting, reason in (
        ("SERVER_GRID_CERT_PATH", no_pair),
        ("CMSWEB_CA_PATH", "CMSWEB_CA_PATH has no certificate: no certificate or crl found"),
        ("SERVER_GRID_KEY_PATH", no_pair),
    ):
        settings = load({**simulated_environment, setting: str(tmp_path / "notes.pem")})
        assert not mirror_once(settings)
        assert gateway_link(settings).reason == reason, setting


def test_it_says_why_a_key_does_not_fit(simulated_environment: dict[str, str], simulator: Simulator) -> None:
    """A colon behind `passphrase` would have the reason redacted."""
    other = simulator.authority.server.key
    settings = load({**simulated_environment, "SERVER_GRID_KEY_PATH": str(other)})
    assert not mirror_once(settings)
    reason = gateway_link(settings).reason or ""
    assert reason.endswith("without a passphrase (OpenSSL: key values mismatch)")


def test_it_asks_no_terminal_for_the_passphrase_of_a_key(
    simulator: Simulator, simulated_environment: dict[str, str], tmp_path: Path
) -> None:
    key = serialization.load_pem_private_key(simulator.client_key_path.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"hunter2"),
    )
    (tmp_path / "userkey.pem").write_bytes(encrypted)
    settings = load({**simulated_environment, "SERVER_GRID_KEY_PATH": str(tmp_path / "userkey.pem")})
    assert not mirror_once(settings)
    freshness = reader(settings).cluster.sync_status()
    assert freshness is not None
    assert "without a passphrase" in (freshness.gateway.reason or "")


def test_it_uses_a_renewed_certificate_without_a_restart(
    simulator: Simulator, simulated_environment: dict[str, str], tmp_path: Path
) -> None:
    certificate, key = tmp_path / "usercert.pem", tmp_path / "userkey.pem"
    settings = load(
        {
            **simulated_environment,
            "GRABBER_SLEEP_TIME_INFO": "0.1",
            "SERVER_GRID_CERT_PATH": str(certificate),
            "SERVER_GRID_KEY_PATH": str(key),
        }
    )
    shutil.copy(simulator.ca_path, certificate)
    shutil.copy(simulator.client_key_path, key)
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    with running_grabber(settings):
        until(lambda: (fresh := reader(settings).cluster.sync_status()) and fresh.gateway.failing_since)
        renewed = tmp_path / "renewed.pem"
        shutil.copy(simulator.client_cert_path, renewed)
        renewed.replace(certificate)
        until(lambda: mirrored_runs(settings) == {1})


def test_it_names_the_setting_that_may_lead_to_no_dqm2(simulated_environment: dict[str, str]) -> None:
    url = simulated_environment["CMSWEB_FRONTEND_PROXY_URL"]
    client = Dqm2Client(load({**simulated_environment, "CMSWEB_FRONTEND_PROXY_URL": f"{url}-elsewhere"}))
    with pytest.raises(Dqm2Error, match=r"^answered with status 404: CMSWEB_FRONTEND_PROXY_URL may not be"):
        client.get_headers(FILTER_UNIT, None)
    client.close()


@pytest.mark.parametrize(
    ("reason", "is_rejected"),
    [
        ("TLSV1_ALERT_UNKNOWN_CA", True),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", True),
        ("SSLV3_ALERT_BAD_CERTIFICATE", True),
        ("TLSV1_ALERT_INTERNAL_ERROR", False),
    ],
)
def test_it_knows_alerts_that_reject_its_certificate(reason: str, *, is_rejected: bool) -> None:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    assert network_errors.rejects_certificate(network_errors.cause(error)) is is_rejected


def test_it_says_that_its_certificate_has_expired(
    simulator: Simulator, simulated_settings: Settings, tmp_path: Path
) -> None:
    """The front end's alert may be lost, in which case it only closes the connection."""
    authority = CertificateAuthority(tmp_path)
    authority.renew_client(valid_for=timedelta(seconds=-1))
    expired = dataclasses.replace(
        simulated_settings,
        server_grid_cert_path=authority.client.certificate,
        server_grid_key_path=authority.client.key,
    )
    with front_end(simulator, expired, lambda connection, _context: connection.close()) as settings:
        client = Dqm2Client(settings)
        with pytest.raises(Dqm2Error, match=r"; the grid certificate has expired$"):
            client.get_headers(FILTER_UNIT, None)
        client.close()


def test_it_recovers_after_a_crash_of_the_database(
    simulator: Simulator, brisk_settings: Settings, postgres: EmbeddedPostgres
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document(run=1))
    with running_grabber(brisk_settings):
        until(lambda: mirrored_runs(brisk_settings) == {1})
        postgres.kill()
        simulator.machine(FILTER_UNIT).upload(job_document(run=2))
        postgres.start()
        until(lambda: mirrored_runs(brisk_settings) == {1, 2})


def test_it_stores_no_host_name_in_reasons(simulator: Simulator, simulated_settings: Settings) -> None:
    simulator.machine(FILTER_UNIT).is_dead = True
    assert not mirror_once(simulated_settings)
    kept = str(rows(simulated_settings, db.heartbeat)) + str(rows(simulated_settings, db.machine_states))
    assert "failing" in kept or "500" in kept
    assert not any(host in kept for host in simulated_settings.known_hosts)
