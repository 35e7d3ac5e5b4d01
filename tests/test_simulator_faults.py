"""Fault injection: each fault for the given machine, kind and number of requests."""

import json
import math
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from simulator.documents import job_document
from simulator.fault_injection import WRONG_TYPES, FaultKind
from simulator.simulator import Simulator
from tests.waiting import TIMEOUT_S

FILTER_UNIT = "dqmfu-c2b03-45-01"
OTHER_FILTER_UNIT = "dqmfu-c2b04-45-01"
HEADERS = {"event": "sync_request", "known_rev": None}
NO_MESSAGES = b'{"messages": []}'
DOCUMENTS = {"event": "request_documents", "ids": [job_document()["_id"]]}


@pytest.fixture
def session(simulator: Simulator) -> Iterator[requests.Session]:
    """An HTTP session with `simulator`, two machines of which have a job each."""
    for host in (FILTER_UNIT, OTHER_FILTER_UNIT):
        simulator.machine(host).upload(job_document(host=host))
    with simulator.session() as session:
        yield session


def post(
    simulator: Simulator,
    session: requests.Session,
    message: dict[str, Any] = HEADERS,
    host: str = FILTER_UNIT,
) -> requests.Response:
    url = f"{simulator.base_url}/redirect?path={host}&port=9215"
    body = {"messages": [json.dumps(message)]}
    return session.post(url, json=body, timeout=TIMEOUT_S, allow_redirects=False)


def is_valid(response: requests.Response) -> bool:
    return response.status_code == 200 and response.content.startswith(b'{"messages": [')


def test_it_applies_a_fault_to_a_number_of_requests(simulator: Simulator, session: requests.Session) -> None:
    simulator.faults.add(FaultKind.ERROR_PAGE, times=2)
    statuses = [post(simulator, session).status_code for _ in range(3)]
    assert statuses == [500, 500, 200]


def test_it_applies_a_fault_until_it_is_cleared(simulator: Simulator, session: requests.Session) -> None:
    simulator.faults.add(FaultKind.ERROR_PAGE)
    assert [post(simulator, session).status_code for _ in range(3)] == [500, 500, 500]
    simulator.faults.clear(FaultKind.ERROR_PAGE)
    assert is_valid(post(simulator, session))


def test_it_applies_a_fault_to_one_machine_only(simulator: Simulator, session: requests.Session) -> None:
    simulator.faults.add(FaultKind.ERROR_PAGE, machine=FILTER_UNIT)
    assert post(simulator, session).status_code == 500
    assert is_valid(post(simulator, session, host=OTHER_FILTER_UNIT))
    simulator.faults.clear(machine=FILTER_UNIT)
    assert is_valid(post(simulator, session))


def test_it_applies_a_fault_to_one_kind_of_request_only(
    simulator: Simulator, session: requests.Session
) -> None:
    simulator.faults.add(FaultKind.ERROR_PAGE, request_kind="documents")
    assert is_valid(post(simulator, session, HEADERS))
    assert post(simulator, session, DOCUMENTS).status_code == 500


def test_it_rejects_an_unknown_fault(simulator: Simulator) -> None:
    with pytest.raises(ValueError, match="sabotage"):
        simulator.faults.add("sabotage")


def test_it_redirects_to_the_login_page(simulator: Simulator, session: requests.Session) -> None:
    simulator.faults.add(FaultKind.LOGIN_REDIRECT, times=1)
    response = post(simulator, session)
    assert (response.status_code, response.headers["Location"]) == (303, "https://cmsweb.cern.ch/")
    simulator.faults.add(FaultKind.LOGIN_PAGE, times=1)
    response = post(simulator, session)
    assert (response.status_code, response.text[:15]) == (200, "<!DOCTYPE html>")


@pytest.mark.parametrize("kind", [FaultKind.EMPTY_BODY, FaultKind.GARBAGE, FaultKind.BODY_TRUNCATED])
def test_it_sends_invalid_json(simulator: Simulator, session: requests.Session, kind: FaultKind) -> None:
    simulator.faults.add(kind, times=1)
    response = post(simulator, session, DOCUMENTS)
    assert response.status_code == 200
    with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
        json.loads(response.content)
    assert is_valid(post(simulator, session))


@pytest.mark.parametrize(
    "kind", [FaultKind.CONNECTION_CLOSED, FaultKind.BODY_INTERRUPTED, FaultKind.CONNECTION_REFUSED]
)
def test_it_closes_the_connection(simulator: Simulator, session: requests.Session, kind: FaultKind) -> None:
    simulator.faults.add(kind, times=1)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        post(simulator, session, DOCUMENTS)
    assert is_valid(post(simulator, session))


def test_it_truncates_the_body_at_a_given_length(simulator: Simulator, session: requests.Session) -> None:
    simulator.faults.add(FaultKind.BODY_TRUNCATED, 17, times=1)
    assert len(post(simulator, session).content) == 17


def test_it_swaps_headers_and_documents(simulator: Simulator, session: requests.Session) -> None:
    simulator.faults.add(FaultKind.WRONG_RESPONSE, times=2)
    events = [
        json.loads(post(simulator, session, message).json()["messages"][0])["event"]
        for message in (HEADERS, DOCUMENTS)
    ]
    assert events == ["update_documents", "update_headers"]


def test_it_sends_wrong_types_at_every_level(simulator: Simulator, session: requests.Session) -> None:
    valid = {post(simulator, session, message).content for message in (HEADERS, DOCUMENTS)}
    for number, change in enumerate(WRONG_TYPES):
        simulator.faults.add(FaultKind.WRONG_TYPES, number, times=2)
        responses = {post(simulator, session, message).content for message in (HEADERS, DOCUMENTS)}
        assert responses != valid, change
        assert all(json.loads(response) != [] for response in responses)


def test_it_sends_nan(simulator: Simulator, session: requests.Session) -> None:
    simulator.faults.add(FaultKind.NAN, times=1)
    [message] = post(simulator, session, DOCUMENTS).json()["messages"]
    [document] = json.loads(message)["documents"]
    assert math.isnan(document["events_rate"])


def test_it_sends_lone_surrogates(simulator: Simulator, session: requests.Session) -> None:
    simulator.faults.add(FaultKind.LONE_SURROGATES, times=1)
    [message] = post(simulator, session, DOCUMENTS).json()["messages"]
    [document] = json.loads(message)["documents"]
    assert "\udc00" in document["extra"]["stdlog_end"][-1]


def test_it_uses_cpu_time_for_documents(simulator: Simulator, session: requests.Session) -> None:
    simulator.faults.add(FaultKind.DOCUMENT_COST, 50.0)
    before = time.process_time()
    assert is_valid(post(simulator, session, DOCUMENTS))
    assert time.process_time() - before >= 0.05


def test_it_sends_header_and_body_in_two_packets(simulator: Simulator) -> None:
    tls = ssl.create_default_context(cafile=simulator.ca_path)
    tls.load_cert_chain(simulator.client_cert_path, simulator.client_key_path)
    head = f"POST /dqm/dqm-square-origin/sync_proxy HTTP/1.1\r\nContent-Length: {len(NO_MESSAGES)}\r\n\r\n"
    plain = socket.create_connection(("127.0.0.1", simulator.port), timeout=TIMEOUT_S)
    with tls.wrap_socket(plain, server_hostname="127.0.0.1") as connection:

        def response(packets: int) -> list[bytes]:
            """The parts of a response that were sent apart: one is received at a time."""
            connection.sendall(head.encode() + NO_MESSAGES)
            return [connection.recv(1 << 16) for _ in range(packets)]

        [whole] = response(1)
        assert whole.endswith(b"\r\n\r\n" + NO_MESSAGES)
        simulator.faults.add(FaultKind.TWO_PACKETS)
        for _ in range(3):
            header, body = response(2)
            assert (header + body).endswith(b"\r\n\r\n" + NO_MESSAGES)
            assert body == NO_MESSAGES


def test_it_delays_one_request_only(simulator: Simulator, session: requests.Session) -> None:
    simulator.faults.add(FaultKind.LATENCY, 0.2, times=1)
    for _ in range(2):
        assert is_valid(post(simulator, session))
    slow = simulator.requests[0]
    assert slow.ended_s - slow.started_s >= 0.2


def test_it_combines_several_faults(simulator: Simulator, session: requests.Session) -> None:
    simulator.faults.add(FaultKind.NAN)
    simulator.faults.add(FaultKind.EMPTY_BODY)
    simulator.faults.add(FaultKind.TWO_PACKETS)
    assert post(simulator, session, DOCUMENTS).content == b""
