"""Headers of every response of the server, and a visitor's headers that must have no effect."""

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

PATHS = ("/", "/healthz", "/readyz", "/api?what=get_info&db=production", "/api?what=x", "/nowhere", "/fails")


def fail() -> str:
    raise RuntimeError("at dqmfu-c2b03-45-01 with password=sesame")


@pytest.fixture
def app(app: Flask) -> Flask:
    app.add_url_rule("/fails", view_func=fail)
    app.add_url_rule("/folder/", view_func=lambda: "in it", endpoint="folder")
    return app


def test_it_lets_a_browser_run_nothing_from_elsewhere(client: FlaskClient) -> None:
    for path in PATHS:
        policy = client.get(path).headers["Content-Security-Policy"].split("; ")
        assert "default-src 'self'" in policy
        assert "img-src 'self' data:" in policy
        assert not any("unsafe" in directive for directive in policy)


def test_it_may_not_be_framed_or_guessed_at(client: FlaskClient) -> None:
    for path in PATHS:
        headers = client.get(path).headers
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"


def test_it_names_each_answer(client: FlaskClient) -> None:
    forged = {"X-Request-ID": "forged"}
    ids = {client.get("/healthz", headers=forged).headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5
    assert "forged" not in ids


def test_it_tells_nothing_of_what_went_wrong(client: FlaskClient, app: Flask) -> None:
    app.testing = False
    for accepted in ("*/*", "text/html"):
        answer = client.get("/fails", headers={"Accept": accepted})
        assert answer.status_code == 500
        assert answer.headers["X-Request-ID"] in answer.text
        assert not any(word in answer.text for word in ("Runtime", "dqmfu", "sesame", "Traceback"))


def test_it_says_what_is_wrong_in_the_form_that_is_asked_for(client: FlaskClient) -> None:
    script = client.get("/?db=nowhere")
    assert (script.status_code, script.mimetype) == (400, "text/plain")
    assert script.text == "db must be one of ['playback', 'production']"
    browser = client.get("/?db=nowhere", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (browser.status_code, browser.mimetype) == (400, "text/html")
    assert "db must be one of" in browser.text
    assert client.get("/nowhere", headers={"Accept": "text/html"}).mimetype == "text/html"


def test_it_escapes_what_it_repeats(client: FlaskClient) -> None:
    answer = client.get("/<script>alert(1)</script>", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "<script>alert" not in answer.text


def test_it_redirects_to_nobody_elses_host(client: FlaskClient) -> None:
    answer = client.get("/folder", headers={"Host": "evil.example"})
    assert answer.status_code == 308
    assert answer.location == "/folder/"
    assert "evil.example" not in answer.text
    for path in ("//evil.example/", "///evil.example", "/\\evil.example/folder"):
        location = client.get(path).location or "/"
        assert location.startswith("/")
        assert location[1:2] not in ("/", "\\")


def test_it_takes_no_large_body(client: FlaskClient, app: Flask) -> None:
    app.add_url_rule("/form", view_func=read_form, methods=["POST"], endpoint="form")
    assert client.post("/form", data={"username": "shifter"}).status_code == 200
    assert client.post("/form", data={"username": "x" * 100_000}).status_code == 413


def read_form() -> dict[str, str]:
    return dict(request.form)
