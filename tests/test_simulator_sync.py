"""`sync_proxy` of the simulator, its HTTPS server and its request recorder."""

import http.client
import json
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import requests

from simulator.documents import files_document, job_document, stats_document
from simulator.simulator import Simulator
from tests.waiting import TIMEOUT_S

FILTER_UNIT = "dqmfu-c2b03-45-01"
GATEWAY = "dqmrubu-c2a06-03-01"


def post(
    simulator: Simulator, session: requests.Session, host: str, *messages: dict[str, Any]
) -> list[dict[str, Any]]:
    body = json.dumps({"messages": [json.dumps(message) for message in messages]})
    url = (
        f"{simulator.base_url}/sync_proxy"
        if host == GATEWAY
        else f"{simulator.base_url}/redirect?path={host}&port=9215"
    )
    response = session.post(url, data=body, timeout=TIMEOUT_S, allow_redirects=False)
    assert response.status_code == 200
    return [json.loads(message) for message in response.json()["messages"]]


def headers_above(
    simulator: Simulator, session: requests.Session, known_rev: Any, host: str = FILTER_UNIT
) -> list[dict[str, Any]]:
    messages = post(simulator, session, host, {"event": "sync_request", "known_rev": known_rev})
    return [header for message in messages for header in message["headers"]]


def upload_jobs(simulator: Simulator, count: int) -> list[str]:
    documents = [job_document(host=FILTER_UNIT, pid=pid) for pid in range(1000, 1000 + count)]
    for document in documents:
        simulator.machine(FILTER_UNIT).upload(document)
    return [document["_id"] for document in documents]


@pytest.mark.parametrize("host", [FILTER_UNIT, f"{FILTER_UNIT}.cms", GATEWAY])
def test_it_returns_the_headers_of_each_machine(
    simulator: Simulator, session: requests.Session, host: str
) -> None:
    short = host.removesuffix(".cms")
    assert simulator.machine(short).upload(job_document(host=short, timestamp=17.5)) == 1
    assert headers_above(simulator, session, None, host) == [
        {
            "_id": f"dqm-source-state-run358788-host{short}-pid039363",
            "_rev": 1,
            "timestamp": 17.5,
            "type": "dqm-source-state",
            "hostname": short,
            "tag": "beampixel_dqm_sourceclient-live",
            "run": 358788,
        }
    ]


def test_it_sends_null_for_missing_header_fields(simulator: Simulator, session: requests.Session) -> None:
    simulator.machine(FILTER_UNIT).upload(stats_document())
    [header] = headers_above(simulator, session, None)
    assert (header["tag"], header["run"]) == (None, None)


@pytest.mark.parametrize("known_rev", [3, "3"])
def test_it_sends_the_known_revision_again(
    simulator: Simulator, session: requests.Session, known_rev: Any
) -> None:
    upload_jobs(simulator, 5)
    assert [header["_rev"] for header in headers_above(simulator, session, known_rev)] == [3, 4, 5]


def test_it_sends_no_message_above_the_highest_revision(
    simulator: Simulator, session: requests.Session
) -> None:
    upload_jobs(simulator, 5)
    assert post(simulator, session, FILTER_UNIT, {"event": "sync_request", "known_rev": "6"}) == []


def test_it_splits_headers_into_messages_of_a_thousand(
    simulator: Simulator, session: requests.Session
) -> None:
    simulator.fill(FILTER_UNIT, 2345, small=True)
    messages = post(simulator, session, FILTER_UNIT, {"event": "sync_request", "known_rev": None})
    assert [len(message["headers"]) for message in messages] == [1000, 1000, 345]
    assert [message["rev"] for message in messages] == [[1, 1000], [1001, 2000], [2001, 2345]]
    assert [message["total_sent"] for message in messages] == [1000, 2000, 2345]
    assert {message["total_avail"] for message in messages} == {2345}
    assert {message["sync_to_rev"] for message in messages} == {2345}
    assert {message["event"] for message in messages} == {"update_headers"}


def test_it_assigns_a_new_revision_to_an_updated_document(
    simulator: Simulator, session: requests.Session
) -> None:
    first, second = upload_jobs(simulator, 2)
    assert simulator.machine(FILTER_UNIT).upload(job_document(pid=1000)) == 3
    headers = headers_above(simulator, session, None)
    assert [(header["_id"], header["_rev"]) for header in headers] == [(second, 2), (first, 3)]


def test_it_restarts_revisions_at_one_after_a_reset(simulator: Simulator, session: requests.Session) -> None:
    upload_jobs(simulator, 5)
    simulator.machine(FILTER_UNIT).reset()
    assert headers_above(simulator, session, "5") == []
    assert simulator.machine(FILTER_UNIT).upload(job_document(pid=7)) == 1


def test_it_reuses_pruned_revisions(simulator: Simulator, session: requests.Session) -> None:
    ids = upload_jobs(simulator, 5)
    assert simulator.machine(FILTER_UNIT).prune(2) == [ids[4], ids[3]]
    assert simulator.machine(FILTER_UNIT).upload(job_document(pid=7)) == 4
    [known, new] = headers_above(simulator, session, "3")
    assert (known["_id"], new["_id"]) == (ids[2], job_document(pid=7)["_id"])


def test_it_sends_documents_as_they_were_uploaded(simulator: Simulator, session: requests.Session) -> None:
    document = job_document(exit_code=-9)
    simulator.machine(FILTER_UNIT).upload(document)
    [message] = post(
        simulator, session, FILTER_UNIT, {"event": "request_documents", "ids": [document["_id"], "gone"]}
    )
    assert message == {"event": "update_documents", "documents": [{**document, "_rev": 1}]}


def test_it_sends_the_same_with_cached_json(simulator: Simulator, session: requests.Session) -> None:
    machine = simulator.machine(FILTER_UNIT)
    ids = upload_jobs(simulator, 2)
    request = {"event": "request_documents", "ids": ids}
    [before] = post(simulator, session, FILTER_UNIT, request)
    machine.cache_json()
    [after] = post(simulator, session, FILTER_UNIT, request)
    assert after == before
    machine.upload(job_document(pid=1000, events_total="17"))
    [updated] = post(simulator, session, FILTER_UNIT, request)
    assert updated["documents"][-1]["events_total"] == "17"


def test_it_sends_the_json_of_python(simulator: Simulator, session: requests.Session) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(events_rate=float("nan"), note="half \ud83d of a pair"))
    body = {"messages": [json.dumps({"event": "request_documents", "ids": list(machine.documents())})]}
    text = session.post(
        f"{simulator.base_url}/redirect?path={FILTER_UNIT}&port=9215", json=body, timeout=TIMEOUT_S
    ).text
    assert '\\"events_rate\\": NaN' in text
    assert "half \\\\ud83d of a pair" in text


def test_it_responds_to_several_messages_in_one_request(
    simulator: Simulator, session: requests.Session
) -> None:
    [document_id] = upload_jobs(simulator, 1)
    messages = post(
        simulator,
        session,
        FILTER_UNIT,
        {"event": "sync_request", "known_rev": None},
        {"event": "something_else"},
        {"event": "request_documents", "ids": [document_id]},
    )
    assert [message["event"] for message in messages] == ["update_headers", "update_documents"]


INVALID_BODIES = (
    b"",
    b"[]",
    b"{",
    b'{"messages": ["{"]}',
    b'{"messages": [{"event": "sync_request", "known_rev": null}]}',
    json.dumps({"messages": [json.dumps({"event": "sync_request", "known_rev": "newest"})]}).encode(),
    json.dumps({"messages": [json.dumps({"event": "request_documents", "ids": ["x"] * 1000})]}).encode(),
)


def test_it_returns_an_error_page_for_invalid_requests(
    simulator: Simulator, session: requests.Session
) -> None:
    for body in INVALID_BODIES:
        response = session.post(f"{simulator.base_url}/sync_proxy", data=body, timeout=TIMEOUT_S)
        assert response.status_code == 500, body
        assert response.headers["Content-Type"].startswith("text/html")
        assert "<title>Error: 500 Internal Server Error</title>" in response.text


def test_it_accepts_999_ids(simulator: Simulator, session: requests.Session) -> None:
    simulator.fill(FILTER_UNIT, 999, small=True)
    ids = [header["_id"] for header in simulator.machine(FILTER_UNIT).headers()]
    [message] = post(simulator, session, FILTER_UNIT, {"event": "request_documents", "ids": ids})
    assert {document["_id"] for document in message["documents"]} == set(ids)


def test_it_counts_revisions_per_machine(simulator: Simulator, session: requests.Session) -> None:
    upload_jobs(simulator, 3)
    simulator.machine(GATEWAY).upload(files_document(host=GATEWAY))
    assert [header["_rev"] for header in headers_above(simulator, session, None, GATEWAY)] == [1]


def test_it_keeps_a_connection_open(simulator: Simulator) -> None:
    tls = ssl.create_default_context(cafile=simulator.ca_path)
    tls.load_cert_chain(simulator.client_cert_path, simulator.client_key_path)
    connection = http.client.HTTPSConnection("127.0.0.1", simulator.port, context=tls, timeout=TIMEOUT_S)
    connection.connect()
    # No reconnection.
    connection.auto_open = 0
    for _ in range(3):
        connection.request("POST", "/dqm/dqm-square-origin/sync_proxy", body='{"messages": []}')
        assert connection.getresponse().read() == b'{"messages": []}'
    connection.close()


def test_it_requires_a_client_certificate(simulator: Simulator) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.post(f"{simulator.base_url}/sync_proxy", verify=str(simulator.ca_path), timeout=TIMEOUT_S)


def test_it_reuses_valid_certificates(tmp_path: Path) -> None:
    Simulator(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    Simulator(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["ca.pem", "server.pem", "client.key.pem"])
@pytest.mark.parametrize("content", ["", "broken"])
def test_it_replaces_certificates_if_one_is_invalid(tmp_path: Path, name: str, content: str) -> None:
    Simulator(tmp_path)
    (tmp_path / name).write_text(content)
    with Simulator(tmp_path) as simulator, simulator.session() as session:
        assert headers_above(simulator, session, None) == []


def test_it_makes_keys_readable_by_their_owner_only(tmp_path: Path) -> None:
    Simulator(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.key.pem")} == {0o600}


def test_it_records_requests_without_secrets(simulator: Simulator, session: requests.Session) -> None:
    headers_above(simulator, session, "17")
    [request] = simulator.requests
    assert (request.method, request.status) == ("POST", 200)
    assert request.path == "/dqm/dqm-square-origin/redirect"
    assert request.query == (("path", FILTER_UNIT), ("port", "9215"))
    assert request.messages == [{"event": "sync_request", "known_rev": "17"}]
    assert simulator.secret not in repr(request.headers)


def test_it_drops_the_oldest_recorded_requests(
    simulator: Simulator, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.http_types._MAX_RECORDED_BYTES", 32_000)
    for size in (1, 2, 3):
        body = json.dumps({"messages": [], "padding": "x" * (size * 8_000)})
        session.post(f"{simulator.base_url}/sync_proxy", data=body, timeout=TIMEOUT_S)
    assert [len(request.body) // 8_000 for request in simulator.requests] == [3]
    simulator.recorder.clear()
    assert simulator.requests == ()


def test_it_waits_for_a_request(simulator: Simulator, session: requests.Session) -> None:
    thread = threading.Thread(target=headers_above, args=(simulator, session, "17"))
    thread.start()
    request = simulator.recorder.wait_for(lambda request: request.messages[0]["known_rev"] == "17")
    thread.join()
    assert request in simulator.requests
    with pytest.raises(TimeoutError):
        simulator.recorder.wait_for(lambda request: request.method == "GET", timeout_s=0.01)


def test_it_calls_a_hook_before_each_response(simulator: Simulator, session: requests.Session) -> None:
    machine = simulator.machine(FILTER_UNIT)
    [document_id] = upload_jobs(simulator, 1)
    simulator.on_request = lambda _request: machine.reset()
    [message] = post(simulator, session, FILTER_UNIT, {"event": "request_documents", "ids": [document_id]})
    assert message["documents"] == []
