"""The page `/api/v1/`: the description of the API for readers."""

import re
from dataclasses import replace
from inspect import getdoc

from flask.testing import FlaskClient

from dqmsquare_cfg import Settings
from server import create_app
from web.api_v1.operations import operations


def test_it_describes_every_resource(client: FlaskClient) -> None:
    page = client.get("/api/v1/").text
    for operation in operations().values():
        assert f'<h2 id="{operation.id}"><code>{operation.path}</code></h2>' in page
        assert (getdoc(operation.view) or "").splitlines()[0] in page


def test_its_links_lead_to_its_types(client: FlaskClient) -> None:
    page = client.get("/api/v1/").text
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_it_loads_nothing_from_elsewhere(client: FlaskClient) -> None:
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', client.get("/api/v1/").text)


def test_it_is_below_the_prefix(settings: Settings) -> None:
    client = create_app(replace(settings, server_url_prefix="/dqm/dqm-square")).test_client()
    description = client.get("/dqm/dqm-square/api/v1/openapi.json").get_json()
    assert description["openapi"].startswith("3.1")
    assert description["servers"] == [{"url": "/dqm/dqm-square/api/v1"}]
    assert "<code>/dqm/dqm-square/api/v1</code>" in client.get("/dqm/dqm-square/api/v1/").text
    assert client.get("/dqm/dqm-square/api/v1/x").mimetype == "application/problem+json"
    assert client.get("/dqm/dqm-square/api/v1").location == "/dqm/dqm-square/api/v1/"


def test_it_is_linked_from_the_guides(client: FlaskClient) -> None:
    assert 'href="/api/v1/"' in client.get("/help/expert").text
