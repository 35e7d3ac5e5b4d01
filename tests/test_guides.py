"""The guides of docs/ as pages, and their agreement with the code."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from dqmsquare_cfg import Settings
from tests.control_room import Visitor, served
from web.pages import guides
from web.pages.job_table import ClientState

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
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
    outages = (DOCS.parent / "web" / "pages" / "freshness.py").read_text()
    connection = (DOCS.parent / "static" / "js" / "connection.js").read_text()
    messages = re.findall(r'utage\("([^"{}\n]+)"', outages)
    messages += re.findall(r'["`](Th[^"$(\n]+?)["` ]*[(",]', connection)
    assert len(messages) == 8
    assert [message for message in messages if message not in texts["shifter"]] == []


def test_every_page_says_what_it_is(client: FlaskClient) -> None:
    for path in ("/", "/timeline/", "/statistics/", "/cluster/", "/help/shifter"):
        page = client.get(path).text
        assert '<meta name="description" content="State of the online data quality monitoring' in page
        [title] = re.findall(r"<title>([^<]+)</title>", page)
        assert f'<meta property="og:title" content="{title}">' in page
        assert "lumisection: 23.3 s of data taking" in page
