"""The guides of docs/ as pages, and their agreement with the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from dqmsquare_cfg import Settings
from storage.client_rows import ClientState
from tests.control_room import Visitor
from tests.served import served
from web.pages import guides

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The texts of the guides, by name."""
    return {name: (DOCS / f"{name}.md").read_text() for name in guides.GUIDES}


@pytest.fixture
def visitor(settings: Settings) -> Iterator[Visitor]:
    """A visitor of a running server; no database is needed."""
    with served(settings) as url:
        yield Visitor(url)


def test_it_shows_each_guide_completely(visitor: Visitor, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        page = visitor.get(f"/help/{name}").text
        for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
            assert re.search(rf"<h\d id=\"[\w-]+\">{re.escape(heading)}</h\d>", page), heading
        assert page.count("<tr>") == len(re.findall(r"^\|(?!---)", text, flags=re.MULTILINE))


def test_it_has_each_id_once(visitor: Visitor) -> None:
    for name in guides.GUIDES:
        ids = re.findall(r' id="([^"]+)"', visitor.get(f"/help/{name}").text)
        assert len(ids) == len(set(ids)), name


def test_its_links_resolve(visitor: Visitor) -> None:
    for name in guides.GUIDES:
        page = visitor.get(f"/help/{name}").text
        article = page.partition("<article")[2].partition("</article>")[0]
        for href in re.findall(r'href="([^"]+)"', article):
            target, _, heading = href.partition("#")
            linked = visitor.get(f"/help/{target or name}")
            assert linked.status_code == 200, href
            assert not heading or f'id="{heading}"' in linked.text, href


def test_it_is_linked_from_every_page(visitor: Visitor) -> None:
    for path in ("/", "/timeline/", "/statistics/", "/cluster/", "/cr/login/", "/help/expert", "/nowhere"):
        page = visitor.get(path, headers={"Accept": "text/html"}).text
        assert all(f'href="/help/{name}"' in page for name in guides.GUIDES), path


def test_it_has_no_page_for_other_documents(visitor: Visitor) -> None:
    assert visitor.get("/help/").headers["Location"] == "/help/shifter"
    for name in ("operator", "..%2fREADME", "data-policy"):
        assert visitor.get(f"/help/{name}").status_code == 404


def test_it_explains_every_state(texts: dict[str, str]) -> None:
    explained = re.findall(r"^\| (\w+) \|", texts["shifter"], flags=re.MULTILINE)
    assert set(ClientState) <= set(explained)


def test_it_explains_every_banner(texts: dict[str, str]) -> None:
    banners = [*_banners_of_outages(), *_banners_of_template(), *_banners_of_connection()]
    parts = [part.strip() for banner in banners for part in banner]
    assert [part for part in parts if part not in texts["shifter"]] == []


def _banners_of_outages() -> list[list[str]]:
    """The fixed parts of the message of each outage that there can be."""
    tree = ast.parse((ROOT / "storage" / "outages.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_outage(node)]
    messages = [call.args[1] for call in calls if not isinstance(call.args[1], ast.Name)]
    banners = [
        [str(part.value) for part in ast.walk(message) if isinstance(part, ast.Constant)]
        for message in messages
    ]
    assert banners
    assert all(banners)
    return banners


def _is_outage(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in ("Outage", "_outage")


def _banners_of_template() -> list[list[str]]:
    template = (ROOT / "templates" / "live" / "_freshness.html").read_text()
    banners = [[text] for text in re.findall(r"data-certificate>.*?<strong>([^{<]+)", template, re.DOTALL)]
    assert len(banners) == 1
    return banners


def _banners_of_connection() -> list[list[str]]:
    script = (ROOT / "static" / "js" / "connection.js").read_text()
    banners = re.findall(r'failed\(detail\.elt, "([^"]+)"\)', script)
    banners += [
        text.split(" (${")[0] for text in re.findall(r": `([^`]+)`;", script) if "${xhr.status}" in text
    ]
    assert len(banners) == len(re.findall(r"failed\(detail\.elt, ", script))
    return [[text] for text in banners]


def test_every_page_says_what_it_is(client: FlaskClient) -> None:
    for path in ("/", "/timeline/", "/statistics/", "/cluster/", "/help/shifter"):
        page = client.get(path).text
        assert '<meta name="description" content="State of the online data quality monitoring' in page
        [title] = re.findall(r"<title>([^<]+)</title>", page)
        assert f'<meta property="og:title" content="{title}">' in page
        assert "lumisection: 23.3 s of data taking" in page
