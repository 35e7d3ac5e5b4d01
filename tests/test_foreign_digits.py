"""Numbers and dates with digits of another script are refused like any other text that is none."""

from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from dqmsquare_cfg import Settings
from server import create_app
from tests.examples import core_of
from tests.mirrored_cluster import MirroredCluster

_DIGITS = {"Arabic": "٣", "Devanagari": "३", "fullwidth": "３"}
_API = "/api/v1/clusters/production"


@pytest.fixture(scope="module")
def client(shared_settings: Settings) -> FlaskClient:
    """A client of the application; the production cluster has a heartbeat."""
    MirroredCluster(shared_settings).beat()
    return create_app(shared_settings).test_client()


@pytest.mark.parametrize("script", core_of(_DIGITS, "fullwidth"))
@pytest.mark.parametrize(
    "url",
    [
        f"{_API}/runs/{{}}",
        f"{_API}/runs/{{}}/jobs",
        f"{_API}/runs/{{}}/delivery",
        f"{_API}/runs?limit={{}}",
        f"{_API}/runs?first_run={{}}",
        f"{_API}/runs?cursor={{}}",
        f"{_API}/runs?since=202{{}}-01-01T00:00:00Z",
        f"{_API}/transitions?cursor={{}}",
        "/?run={}",
        "/api?what=get_run&db=production&run={}",
        "/api?what=get_runs&db=production&from=1&to={}",
        "/crashes/?skip={}",
        "/crashes/search?skip={}",
        "/crashes/?from={}",
        "/crashes/?from=202{}-01-01",
        "/timeline/rows?below={}",
        "/reports/shift?from=202{}-01-01",
        "/reports/shift?from=202{}-01-01T06:00",
        "/live/missed?since={}",
    ],
)
def test_it_is_refused_as_a_word_is(client: FlaskClient, url: str, script: str) -> None:
    foreign, word = (client.get(url.format(quote(text))) for text in (_DIGITS[script], "x"))
    assert word.status_code in (400, 404)
    assert foreign.status_code == word.status_code
    assert foreign.text.replace(_DIGITS[script], "x") == word.text


def test_a_number_of_ascii_digits_is_none_of_them(client: FlaskClient) -> None:
    response = client.get(f"{_API}/runs/3")
    assert response.get_json()["detail"] == "The mirror does not have this run."
    assert client.get(f"{_API}/runs/2147483648").get_json()["detail"] == "There is nothing at this address."
