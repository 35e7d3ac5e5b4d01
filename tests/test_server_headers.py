"""Headers of every response of the server, and what a visitor sends that must have no effect."""

import re
from uuid import UUID, uuid4

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from dqmsquare_cfg import Settings
from server import create_app
from tests.examples import core_of

# Parameters of all addresses.
NAMES = (  # noqa: SIM905 - shorter than a list
    "bad_only before below client cluster columns command crash cursor endpoint first_run from group hide "
    "id job kind limit ls numbers outcome page q reference run run_key skip since sort state table time to "
    "until username version wall what"
).split()
PATHS = ("/", "/healthz", "/readyz", "/api?what=get_info&db=production", "/api?what=x", "/nowhere", "/fails")
NO_JOB = UUID(int=0)


def fail() -> str:
    raise RuntimeError("at dqmfu-c2b03-45-01 with password=sesame")


def read_form() -> dict[str, str]:
    return dict(request.form)


@pytest.fixture(scope="module")
def app(shared_settings: Settings) -> Flask:
    """The application with a view that fails, one that reads a form, and one with a trailing slash."""
    app = create_app(shared_settings)
    app.add_url_rule("/fails", view_func=fail)
    app.add_url_rule("/form", view_func=read_form, methods=["POST"], endpoint="form")
    app.add_url_rule("/folder/", view_func=lambda: "in it", endpoint="folder")
    return app


def test_browsers_load_nothing_from_other_hosts(client: FlaskClient) -> None:
    for path in PATHS:
        policy = client.get(path).headers["Content-Security-Policy"].split("; ")
        assert "default-src 'self'" in policy
        assert "img-src 'self' data:" in policy
        assert not any("unsafe" in directive for directive in policy)


def test_pages_can_not_be_framed_and_types_not_guessed(client: FlaskClient) -> None:
    for path in PATHS:
        headers = client.get(path).headers
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"


def test_pages_may_use_neither_camera_nor_place(client: FlaskClient) -> None:
    for path in PATHS:
        denied = client.get(path).headers["Permissions-Policy"].split(", ")
        assert {"camera=()", "microphone=()", "geolocation=()", "payment=()"} <= set(denied)


def test_each_response_has_an_id_of_its_own(client: FlaskClient) -> None:
    forged = {"X-Request-ID": "forged"}
    ids = {client.get("/healthz", headers=forged).headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5
    assert "forged" not in ids


def test_an_error_page_has_no_details_of_the_error(client: FlaskClient, app: Flask) -> None:
    app.testing = False
    for accepted in ("*/*", "text/html"):
        response = client.get("/fails", headers={"Accept": accepted})
        assert response.status_code == 500
        assert response.headers["X-Request-ID"] in response.text
        assert not any(word in response.text for word in ("Runtime", "dqmfu", "sesame", "Traceback"))


def test_an_error_is_plain_text_for_scripts_and_a_page_for_browsers(client: FlaskClient) -> None:
    assert client.get("/nowhere").mimetype == "text/plain"
    assert client.get("/nowhere", headers={"Accept": "text/html,*/*;q=0.8"}).mimetype == "text/html"
    fragment = client.get("/live/run?db=nowhere", headers={"HX-Request": "true"})
    assert (fragment.status_code, fragment.mimetype) == (400, "text/plain")


@pytest.mark.parametrize(
    "path",
    [
        *("/", f"/job/{NO_JOB}", "/cluster/", "/timeline/", "/statistics/", "/crashes/", "/crashes/search"),
        *("/find", "/report/shift", "/report/playback", "/report/efficiency"),
    ],
)
def test_an_error_of_a_page_is_a_page_unless_text_is_asked_for(client: FlaskClient, path: str) -> None:
    for accepted, mimetype in (("*/*", "text/html"), ("text/plain", "text/plain")):
        response = client.get(f"{path}?db=nowhere", headers={"Accept": accepted})
        assert (response.status_code >= 400, response.mimetype) == (True, mimetype)


@pytest.mark.parametrize(
    "path",
    [
        *("/statistics/runs.csv", "/timeline/jobs.csv", f"/job/{NO_JOB}/log.txt", "/report/shift.csv"),
        *("/report/efficiency.csv", "/report/playback.csv"),
    ],
)
def test_an_error_of_a_file_is_a_page_for_browsers_only(client: FlaskClient, path: str) -> None:
    for accepted, mimetype in (("*/*", "text/plain"), ("text/html,*/*;q=0.8", "text/html")):
        response = client.get(f"{path}?db=nowhere", headers={"Accept": accepted})
        assert (response.status_code >= 400, response.mimetype) == (True, mimetype)


@pytest.mark.parametrize("accepted", ["*/*", "text/html,application/xhtml+xml,*/*;q=0.8"])
@pytest.mark.parametrize(
    "query", ["run=undefined", "run=null", "run=abc", "run=-", "run=99999999999", "run=1.5"]
)
def test_a_page_of_no_run_leads_to_the_newest_one(client: FlaskClient, query: str, accepted: str) -> None:
    page = client.get(f"/?db=playback&{query}", headers={"Accept": accepted})
    assert (page.status_code, page.mimetype) == (400, "text/html")
    assert "There is no such run" in page.text
    assert 'href="/?db=playback"' in page.text


@pytest.mark.parametrize("path", ["/", "/timeline/", "/statistics/", "/cluster/"])
@pytest.mark.parametrize("cluster", ["nowhere", "undefined", "Production", "production "])
def test_a_page_of_no_cluster_leads_to_both(client: FlaskClient, path: str, cluster: str) -> None:
    page = client.get(path, query_string={"db": cluster})
    assert (page.status_code, page.mimetype) == (400, "text/html")
    assert "There is no such cluster" in page.text
    assert 'href="/?db=playback"' in page.text
    assert 'href="/?db=production"' in page.text


def test_an_error_page_escapes_the_url(client: FlaskClient) -> None:
    response = client.get("/<script>alert(1)</script>", headers={"Accept": "text/html"})
    assert response.status_code == 404
    assert "<script>alert" not in response.text


def test_it_never_redirects_to_another_host(client: FlaskClient) -> None:
    response = client.get("/folder", headers={"Host": "evil.example"})
    assert response.status_code == 308
    assert response.location == "/folder/"
    assert "evil.example" not in response.text
    for path in ("//evil.example/", "///evil.example", "/\\evil.example/folder"):
        location = client.get(path).location or "/"
        assert location.startswith("/")
        assert location[1:2] not in ("/", "\\")


def test_it_rejects_a_large_body(client: FlaskClient) -> None:
    assert client.post("/form", data={"username": "shifter"}).status_code == 200
    assert client.post("/form", data={"username": "x" * 100_000}).status_code == 413


@pytest.mark.parametrize("value", core_of(["1", "shift", "%00%ff"], "1", "%00%ff"))
def test_no_address_fails_at_the_parameters_of_others(app: Flask, client: FlaskClient, value: str) -> None:
    """Each gets all parameters at once, without a session."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    query = "&".join(["db=playback", *(f"{name}={value}" for name in NAMES)])
    variables = {"job": uuid4(), "run": 1, "cluster": "playback"}
    paths = {
        re.sub(r"<(?:[^<>]*:)?(\w+)>", lambda name: str(variables.get(name[1], "x")), rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.rule != "/fails"
    }
    answers = {path: client.get(f"{path}?{query}").status_code for path in paths}
    assert {path: status for path, status in answers.items() if status >= 500} == {}
