"""Errors of `/api`, with the texts that scripts know."""

from dataclasses import replace
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from dqmsquare_cfg import Settings
from server import create_app

DB = "db must be one of ['playback', 'production']"
RUN = "run must be an integer"
RANGE = "to, from must be integers"
RUNS = "to, from, bad_only and ls must be integers"

NO_INTEGERS = (
    "",
    "x",
    "1.5",
    "1e3",
    "0x10",
    "١٢",
    "NaN",
    "--1",
    "1 2",
    "+1+2+",
    "%00",
    "1'",
    "2147483648",
    "-2147483649",
    "9" * 400,
)
NO_CLUSTERS = ("", "Production", "lookarea", "production ", "production'--", "%00")


@pytest.fixture
def client(without_data: FlaskClient) -> FlaskClient:
    """A client of an application with empty databases."""
    return without_data


def refusal(client: FlaskClient, query: str, status: int = 400) -> str:
    answer = client.get(f"/api?{query}")
    assert (answer.status_code, answer.mimetype) == (status, "text/plain"), query
    return answer.text


def test_it_refuses_a_database_that_is_none(client: FlaskClient) -> None:
    for what in ("get_info", "get_run&run=1", "get_graph&run=1", "get_logs&id=1"):
        for cluster in NO_CLUSTERS:
            assert refusal(client, f"what={what}&db={cluster}") == DB


def test_it_refuses_a_missing_database(client: FlaskClient) -> None:
    assert refusal(client, "what=get_info") == DB
    assert refusal(client, "what=get_runs&from=1&to=2") == DB


def test_it_refuses_a_cluster_that_is_none(client: FlaskClient) -> None:
    for cluster in filter(None, NO_CLUSTERS):
        query = f"what=get_cluster_status&cluster={cluster}"
        assert refusal(client, query) == "cluster must be one of ['playback', 'production']"


def test_it_refuses_a_number_that_is_none(client: FlaskClient) -> None:
    for number in NO_INTEGERS:
        for what in ("get_run", "get_graph"):
            assert refusal(client, f"what={what}&db=production&run={number}") == RUN
        for bad in (f"from={number}&to=2", f"from=1&to={number}"):
            assert refusal(client, f"what=get_clients&db=production&{bad}") == RANGE
            assert refusal(client, f"what=get_runs&db=production&{bad}") == RUNS


def test_it_refuses_a_choice_that_is_no_number(client: FlaskClient) -> None:
    for number in filter(None, NO_INTEGERS):
        for name in ("bad_only", "ls"):
            assert refusal(client, f"what=get_runs&db=production&from=1&to=2&{name}={number}") == RUNS


def test_it_refuses_a_missing_number(client: FlaskClient) -> None:
    assert refusal(client, "what=get_run&db=production") == RUN
    assert refusal(client, "what=get_graph&db=production") == RUN
    assert refusal(client, "what=get_clients&db=production&from=1") == RANGE
    assert refusal(client, "what=get_runs&db=production&to=1") == RUNS


def test_it_takes_any_number_that_the_database_can_hold(client: FlaskClient) -> None:
    for number in ("2147483647", "-2147483648", "%2B1", "-0", "0000000007"):
        answers = [
            client.get(f"/api?what={what}&db=production&run={number}&from={number}&to={number}")
            for what in ("get_run", "get_graph", "get_runs", "get_clients")
        ]
        assert [answer.json for answer in answers] == [[[None, None], [[], []]], [], {}, []]


def test_it_refuses_a_parameter_that_is_given_twice(client: FlaskClient) -> None:
    twice = "what=get_run&db=production&run=1&run=2"
    assert refusal(client, twice) == "run must be given once"
    assert refusal(client, "what=get_info&db=playback&db=production") == "db must be given once"
    assert refusal(client, "what=get_info&what=get_run") == "what must be given once"


def test_it_does_not_know_any_other_what(client: FlaskClient) -> None:
    for what in ("get_everything", "GET_INFO", "get_info ", "__class__", "<b>x</b>"):
        assert refusal(client, f"what={what}&db=production", 404) == f"{what} is not supported"


def test_it_does_not_know_a_missing_what(client: FlaskClient) -> None:
    assert refusal(client, "db=production", 404) == " is not supported"


def test_it_does_not_know_any_other_job(client: FlaskClient) -> None:
    junk = ("", "1", "../../etc/passwd", "'; drop table jobs", "%00", "dqm-source-state-run358788")
    spellings = ("{}", "urn:uuid:{}", "{{{}}}", "{0}{0}")
    for job in (*junk, str(uuid4()), *(spelling.format(uuid4().hex) for spelling in spellings)):
        query = f"what=get_logs&db=production&id={job}"
        assert refusal(client, query, 404) == "there is no job with this id"


def test_it_is_read_only(client: FlaskClient) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.open("/api?what=get_info&db=production", method=method).status_code == 405


def test_it_gives_nobody_the_mirrors_own_files(client: FlaskClient) -> None:
    for path in ("/log/", "/log/server.log", "/tmp/", "/tmp/session_secret", "/metrics"):
        assert client.get(path).status_code == 404


def test_it_says_what_is_wrong_to_browsers_in_plain_text_too(client: FlaskClient) -> None:
    answer = client.get("/api?what=get_info", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (answer.mimetype, answer.text) == ("text/plain", DB)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_it_is_only_below_the_prefix(settings: Settings) -> None:
    prefixed = replace(settings, server_url_prefix="/dqm/dqm-square")
    client = create_app(prefixed).test_client()
    assert client.get("/dqm/dqm-square/api?what=get_info&db=production").json == [None, None]
    assert client.get("/api?what=get_info&db=production").status_code == 404
    assert client.get("/dqm/dqm-square/healthz").text == client.get("/healthz").text == "ok\n"
