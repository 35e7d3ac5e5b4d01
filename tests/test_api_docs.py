"""docs/api.md describes the calls and errors of `/api` as they are."""

import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

GUIDE = (Path(__file__).resolve().parent.parent / "docs" / "api.md").read_text()
CALLS = re.findall(r"^\| `(get_\w+)` \|", GUIDE, re.MULTILINE)
# The requests of its table of errors, by the words that describe them there.
REQUESTS = {
    "`db` is not a cluster": "what=get_info&db=lookarea",
    "`cluster` is not a cluster": "what=get_cluster_status&cluster=lookarea",
    "`run` is not a number": "what=get_run&db=production&run=x",
    "`get_runs` with a bad number": "what=get_runs&db=production&from=x&to=1",
    "`get_clients` with a bad number": "what=get_clients&db=production&from=x&to=1",
    "unknown `what`, here `X`": "what=X",
}


@pytest.mark.parametrize("what", CALLS)
def test_it_has_every_call_that_the_guide_describes(client: FlaskClient, what: str) -> None:
    assert "is not supported" not in client.get(f"/api?what={what}").text


def test_the_guide_describes_every_call() -> None:
    source = (Path(__file__).resolve().parent.parent / "web" / "api.py").read_text()
    assert sorted(CALLS) == sorted(set(re.findall(r'"(get_\w+)":', source)))


def test_it_answers_errors_as_the_guide_describes(client: FlaskClient) -> None:
    rows = re.findall(r"^\| (.+?) \| (\d{3}) \| `(.+)` \|$", GUIDE, re.MULTILINE)
    assert {described for described, _, _ in rows} == set(REQUESTS)
    for described, status, text in rows:
        response = client.get(f"/api?{REQUESTS[described]}")
        assert (response.status_code, response.text) == (int(status), text), described
