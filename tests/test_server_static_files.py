"""Static files: compressed, cached forever under the hash of their tree, and found under any other hash."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, render_template_string
from flask.testing import FlaskClient

from dqmsquare_cfg import Settings
from server import create_app
from web.static_files import StaticFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a script and a sound."""
    folder = tmp_path / "static"
    (folder / "js").mkdir(parents=True)
    (folder / "js" / "live.js").write_text("export const live = true;\n" * 100)
    (folder / "alert.mp3").write_bytes(b"\x00" * 1000)
    return folder


@pytest.fixture
def client(folder: Path) -> Iterator[FlaskClient]:
    """A client of an application that serves `folder`."""
    app = Flask(__name__, static_folder=None)
    app.add_url_rule("/static/<tree>/<path:name>", view_func=StaticFiles(folder).view, endpoint="file")
    with app.test_client() as client:
        yield client


def test_browsers_cache_a_file_forever(client: FlaskClient, folder: Path) -> None:
    response = client.get(f"/static/{StaticFiles(folder).hash}/js/live.js")
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert response.text.startswith("export const live")


def test_a_changed_tree_has_another_url(folder: Path) -> None:
    before = StaticFiles(folder).hash
    assert StaticFiles(folder).hash == before
    (folder / "js" / "live.js").write_text("export const live = false;\n")
    changed = StaticFiles(folder).hash
    (folder / "js" / "live.js").rename(folder / "js" / "life.js")
    assert len({before, changed, StaticFiles(folder).hash}) == 3


def test_the_url_of_another_release_is_served_but_not_cached(client: FlaskClient) -> None:
    response = client.get("/static/0123456789ab/js/live.js")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-cache"


def test_it_compresses_files_if_accepted(client: FlaskClient) -> None:
    plain = client.get("/static/x/js/live.js")
    compressed = client.get("/static/x/js/live.js", headers={"Accept-Encoding": "gzip, br"})
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(compressed.data) == plain.data
    assert plain.headers["Vary"] == compressed.headers["Vary"] == "Accept-Encoding"
    sound = client.get("/static/x/alert.mp3", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in sound.headers


def test_it_serves_no_other_files(client: FlaskClient, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("sesame")
    for name in ("../secret", "%2e%2e/secret", "js/../../secret", f"{tmp_path}/secret", "js", "js/", "x"):
        assert client.get(f"/static/x/{name}", follow_redirects=True).status_code == 404, name


def test_templates_get_the_url_of_a_file(settings: Settings) -> None:
    app = create_app(settings)
    with app.test_request_context():
        url = render_template_string("{{ 'css/base.css'|static_url }}")
    response = app.test_client().get(url)
    assert response.status_code == 200
    assert "immutable" in response.headers["Cache-Control"]
