"""The access log: what was asked and answered, and nothing that may not be in a file."""

import re

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from dqmsquare_cfg import Settings
from tests.log_files import read_log
from tests.served import server_process
from tests.waiting import TIMEOUT_S, until


@pytest.fixture
def app(app: Flask) -> Flask:
    """The application with views that respond without a database."""
    for path in ("/cr/exe", "/dqm/dqm-square/cr/exe", "/streamed"):
        app.add_url_rule(path, view_func=lambda: iter(["one", "two"]), endpoint=path.replace("/", "-"))
    return app


def lines(settings: Settings) -> list[str]:
    text = read_log(settings, "server")
    return [line for line in text.splitlines() if " access " in line]


def test_it_notes_what_was_asked_and_answered(client: FlaskClient, settings: Settings) -> None:
    answer = client.get("/api?what=get_info&db=production", buffered=True)
    [line] = lines(settings)
    asked = 'INFO access http_request method=GET path=/api query="what=get_info&db=production" status=200'
    sent, request_id = f"bytes={len(answer.data)}", answer.headers["X-Request-ID"]
    assert re.search(rf"{re.escape(asked)} {sent} seconds=\d+\.\d{{3}} request={request_id}$", line)


def test_it_notes_a_streamed_answer_at_its_end(client: FlaskClient, settings: Settings) -> None:
    answer = client.get("/streamed", buffered=False)
    assert lines(settings) == []
    assert answer.text == "onetwo"
    answer.close()
    [line] = lines(settings)
    assert "status=200 bytes=6 " in line


@pytest.mark.parametrize("value", ["-----BEGIN PRIVATE KEY-----", "password=[x", "Cookie: a=b", 'token="x'])
def test_it_redacts_each_parameter_by_itself(client: FlaskClient, settings: Settings, value: str) -> None:
    client.get("/api", query_string={"a": value, "b": "shown"}, buffered=True)
    [line] = lines(settings)
    assert ']&b=shown" status=404 ' in line


def test_it_omits_whole_parameters_of_a_long_query(client: FlaskClient, settings: Settings) -> None:
    for a, b in ((500, 495), (500, 496), (1001, 1)):
        client.get("/api", query_string={"a": "x" * a, "b": "y" * b}, buffered=True)
    whole, cut, nothing = lines(settings)
    assert f' query="a={"x" * 500}&b={"y" * 495}" status' in whole
    assert f' query="a={"x" * 500}&[omitted]" status' in cut
    assert " query=[omitted] status" in nothing


def test_it_omits_a_long_path(client: FlaskClient, settings: Settings) -> None:
    client.get(f"/{'x' * 999}", buffered=True)
    client.get(f"/{'x' * 1000}", buffered=True)
    shown, omitted = lines(settings)
    assert f" path=/{'x' * 999} query" in shown
    assert " path=[omitted] query" in omitted


def test_it_leaves_out_the_query_of_the_control_room(client: FlaskClient, settings: Settings) -> None:
    client.get("/cr/exe?what=restart_hltd&host=dqmfu-c2b03-45-01", buffered=True)
    [line] = lines(settings)
    assert 'path=/cr/exe query="" status=401' in line


def test_it_leaves_it_out_below_the_prefix(environment: dict[str, str]) -> None:
    with server_process({**environment, "SERVER_URL_PREFIX": "dqm/dqm-square"}) as server:
        query = "what=restart_hltd&host=of-the-query"
        server.get(f"/cr/exe?{query}")
        # Redirected to the same address.
        requests.get(f"{server.url.replace('/dqm-square', '//dqm-square')}/cr/exe?{query}", timeout=TIMEOUT_S)
        # The lines are written once the answers are sent.
        until(lambda: server.logged().count('path=/dqm/dqm-square/cr/exe query=""') == 2)
        assert 'path=/dqm//dqm-square/cr/exe query=""' in server.logged()
        assert "of-the-query" not in server.logged()


def test_it_redacts_what_a_visitor_sends(client: FlaskClient, settings: Settings) -> None:
    client.get("/dqmfu-c2b03-45-01.cms/?token=abcdefghijk&from=10.176.62.222", buffered=True)
    [line] = lines(settings)
    # The line has times, such as 10.176 s.
    for sensitive in ("c2b03-45", "abcdefghijk", "10.176.62"):
        assert sensitive not in line


def test_it_lets_nobody_forge_a_line(client: FlaskClient, settings: Settings) -> None:
    client.get("/x%0a2026-11-22T13:45:22.123Z INFO access forged%0d%e2%80%a8%00?a=b%0ac", buffered=True)
    text = read_log(settings, "server")
    assert not any(line.startswith("2026-11-22T13:45:22.123Z") for line in text.splitlines())
    assert len(lines(settings)) == 1


def test_it_is_silent_on_what_nobody_looks_for(client: FlaskClient, settings: Settings) -> None:
    client.get("/healthz", buffered=True)
    client.get("/readyz", buffered=True)
    address = "/api?what=get_info&db=production"
    tag = client.get(address, buffered=True).headers["ETag"]
    assert client.get(address, headers={"If-None-Match": tag}, buffered=True).status_code == 304
    assert len(lines(settings)) == 1
