"""The simulated gateway: relaying, serialized requests, the cookie of control commands."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from simulator.documents import job_document
from simulator.gateway import RELAY_TIMEOUT_S
from simulator.simulator import Simulator
from tests.waiting import TIMEOUT_S

FILTER_UNIT = "dqmfu-c2b03-45-01"
OTHER_FILTER_UNIT = "dqmfu-c2b04-45-01"
GATEWAY = "dqmrubu-c2a06-03-01"
ALL_HEADERS = json.dumps({"messages": [json.dumps({"event": "sync_request", "known_rev": None})]})


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A simulator with a shorter relay timeout than 5 s, to keep the tests fast."""
    with Simulator(tmp_path, relay_timeout_s=0.5) as simulator:
        yield simulator


def redirect(
    simulator: Simulator, session: requests.Session, host: str, port: int = 9215
) -> requests.Response:
    url = f"{simulator.base_url}/redirect?path={host}&port={port}"
    return session.post(url, data=ALL_HEADERS, timeout=TIMEOUT_S)


def run_command(simulator: Simulator, session: requests.Session, cookie: str | None) -> requests.Response:
    session.headers.pop("Cookie", None)
    if cookie is not None:
        session.headers["Cookie"] = cookie
    url = f"{simulator.base_url}/cr/exe?what=get_dqm_machines"
    return session.get(url, timeout=TIMEOUT_S, allow_redirects=False)


def test_it_waits_five_seconds_for_a_machine() -> None:
    assert RELAY_TIMEOUT_S == 5.0


def test_it_relays_with_any_content_type(simulator: Simulator, session: requests.Session) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document())
    response = redirect(simulator, session, FILTER_UNIT)
    assert (response.status_code, len(response.json()["messages"])) == (200, 1)
    assert response.headers["Content-Type"].startswith("text/html")


def test_it_fails_to_relay_to_unknown_machines_and_to_itself(
    simulator: Simulator, session: requests.Session
) -> None:
    for host, port in (
        ("dqmfu-c2b99-45-01", 9215),
        (f"{FILTER_UNIT}.example", 9215),
        ("", 9215),
        (FILTER_UNIT, 9216),
        (GATEWAY, 9215),
    ):
        response = redirect(simulator, session, host, port)
        assert response.status_code == 500, (host, port)
        assert "Error: 500 Internal Server Error" in response.text


def test_it_fails_to_relay_to_a_machine_while_it_is_dead(
    simulator: Simulator, session: requests.Session
) -> None:
    simulator.machine(FILTER_UNIT).is_dead = True
    assert redirect(simulator, session, FILTER_UNIT).status_code == 500
    assert redirect(simulator, session, OTHER_FILTER_UNIT).status_code == 200
    simulator.machine(FILTER_UNIT).is_dead = False
    assert redirect(simulator, session, FILTER_UNIT).status_code == 200


def test_it_fails_to_relay_to_a_machine_that_responds_too_late(
    simulator: Simulator, session: requests.Session
) -> None:
    simulator.faults.add("response-delay", 0.6, machine=FILTER_UNIT, times=1)
    assert redirect(simulator, session, FILTER_UNIT).status_code == 500
    simulator.faults.add("response-delay", 0.1, machine=FILTER_UNIT, times=1)
    assert redirect(simulator, session, FILTER_UNIT).status_code == 200


@pytest.mark.long
def test_it_fails_to_relay_a_response_that_takes_too_much_cpu_time(
    simulator: Simulator, session: requests.Session
) -> None:
    simulator.fill(FILTER_UNIT, 1000, small=True)
    simulator.faults.add("header-cost", 1.0)
    assert redirect(simulator, session, FILTER_UNIT).status_code == 500
    simulator.faults.clear()
    simulator.faults.add("header-cost", 0.01)
    assert redirect(simulator, session, FILTER_UNIT).status_code == 200


def test_it_serves_one_request_at_a_time(simulator: Simulator) -> None:
    simulator.machine(FILTER_UNIT).is_dead = True

    def send(path: str) -> None:
        with simulator.session() as session:
            if path.startswith("cr/"):
                session.get(f"{simulator.base_url}/{path}", timeout=TIMEOUT_S)
            else:
                session.post(f"{simulator.base_url}/{path}", data=ALL_HEADERS, timeout=TIMEOUT_S)

    paths = [f"redirect?path={FILTER_UNIT}&port=9215", "sync_proxy", "cr/exe?what=get_dqm_machines"] * 2
    threads = [threading.Thread(target=send, args=[path]) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(simulator.requests) == len(paths)
    relayed = [request for request in simulator.requests if request.path.endswith("/redirect")]
    # One relay waits only after the other has timed out.
    began_s, ended_s = min(one.started_s for one in relayed), max(one.ended_s for one in relayed)
    assert ended_s - began_s >= 2 * 0.5


@pytest.mark.parametrize("path", ["sync_proxy", f"redirect?path={FILTER_UNIT}&port=9215"])
def test_it_needs_no_cookie_for_reading(simulator: Simulator, session: requests.Session, path: str) -> None:
    del session.headers["Cookie"]
    response = session.post(f"{simulator.base_url}/{path}", data=ALL_HEADERS, timeout=TIMEOUT_S)
    assert response.json() == {"messages": []}


def test_it_accepts_a_valid_cookie(simulator: Simulator, session: requests.Session) -> None:
    cookie = f"other=1; selenium-secret-secret={simulator.secret}"
    assert run_command(simulator, session, cookie).status_code == 200


def test_it_ignores_the_cookie_value_after_an_equals_sign(
    simulator: Simulator, session: requests.Session
) -> None:
    assert run_command(simulator, session, f"selenium-secret-secret={simulator.secret}=1").status_code == 200


@pytest.mark.parametrize("value", ["wrong", ""])
def test_it_redirects_a_wrong_cookie_to_cmsweb(
    simulator: Simulator, session: requests.Session, value: str
) -> None:
    response = run_command(simulator, session, f"selenium-secret-secret={value}")
    assert response.status_code == 303
    assert response.headers["Location"] == "https://cmsweb.cern.ch/"


@pytest.mark.parametrize("cookie", [None, "other=1"])
def test_it_fails_without_a_cookie(
    simulator: Simulator, session: requests.Session, cookie: str | None
) -> None:
    assert run_command(simulator, session, cookie).status_code == 500


@pytest.mark.parametrize("secret", ["half=other", "half;other"])
def test_it_never_accepts_a_secret_with_an_equals_sign_or_a_semicolon(tmp_path: Path, secret: str) -> None:
    with Simulator(tmp_path, secret=secret) as simulator, simulator.session() as session:
        assert run_command(simulator, session, f"selenium-secret-secret={secret}").status_code == 303


def test_it_has_no_other_routes(simulator: Simulator, session: requests.Session) -> None:
    origin = simulator.base_url.removesuffix("/dqm/dqm-square-origin")
    for method, path, status in (
        ("GET", "/dqm/dqm-square-origin/sync_proxy", 405),
        ("GET", f"/dqm/dqm-square-origin/redirect?path={FILTER_UNIT}&port=9215", 405),
        ("POST", "/dqm/dqm-square-origin/cr/exe?what=get_dqm_machines", 405),
        ("GET", "/dqm/dqm-square-origin/", 404),
        ("GET", "/", 404),
    ):
        response = session.request(method, f"{origin}{path}", timeout=TIMEOUT_S)
        assert response.status_code == status, (method, path)


def test_it_responds_as_the_front_end_while_it_is_dead(
    simulator: Simulator, session: requests.Session
) -> None:
    simulator.machine(GATEWAY).is_dead = True
    assert redirect(simulator, session, FILTER_UNIT).status_code == 503


def test_it_restarts_on_its_port_with_its_documents(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path)
    with simulator:
        port = simulator.port
        simulator.machine(FILTER_UNIT).upload(job_document())
    with pytest.raises(requests.ConnectionError), simulator.session() as session:
        redirect(simulator, session, FILTER_UNIT)
    with simulator, simulator.session() as session:
        assert simulator.port == port
        assert len(redirect(simulator, session, FILTER_UNIT).json()["messages"]) == 1


def test_it_presents_an_expired_certificate_on_request(
    simulator: Simulator, session: requests.Session
) -> None:
    simulator.use_certificate(expired=True)
    with pytest.raises(requests.exceptions.SSLError, match="expired"):
        redirect(simulator, session, FILTER_UNIT)
    simulator.use_certificate(expired=False)
    assert redirect(simulator, session, FILTER_UNIT).status_code == 200


def test_it_records_the_serial_number_of_client_certificates(
    simulator: Simulator, session: requests.Session
) -> None:
    redirect(simulator, session, FILTER_UNIT)
    simulator.authority.renew_client()
    with simulator.session() as renewed:
        redirect(simulator, renewed, FILTER_UNIT)
    old, new = (request.client_serial for request in simulator.requests)
    assert None not in (old, new)
    assert old != new
