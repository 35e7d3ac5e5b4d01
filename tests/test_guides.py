"""The guides of docs/ are pages of the mirror, for readers who have no repository at hand."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    """A reader of a mirror whose database is not needed for this."""
    with served(settings) as url:
        yield Visitor(url)


def test_it_shows_each_guide_whole(visitor: Visitor, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        page = visitor.get(f"/help/{name}").text
        for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
            assert re.search(rf"<h\d id=\"[\w-]+\">{re.escape(heading)}</h\d>", page), heading
        assert page.count("<tr>") == len(re.findall(r"^\|(?!---)", text, flags=re.MULTILINE))


def test_its_links_lead_somewhere(visitor: Visitor) -> None:
    for name in guides.GUIDES:
        page = visitor.get(f"/help/{name}").text
        article = page.partition("<article")[2].partition("</article>")[0]
        for href in re.findall(r'href="([^"]+)"', article):
            target, _, heading = href.partition("#")
            there = visitor.get(f"/help/{target or name}")
            assert there.status_code == 200, href
            assert not heading or f'id="{heading}"' in there.text, href


def test_it_is_linked_from_every_page(visitor: Visitor) -> None:
    for path in ("/", "/timeline/", "/statistics/", "/cluster/", "/cr/login/", "/help/expert", "/nowhere"):
        page = visitor.get(path, headers={"Accept": "text/html"}).text
        assert all(f'href="/help/{name}"' in page for name in guides.GUIDES), path


def test_it_refuses_what_is_no_guide(visitor: Visitor) -> None:
    assert visitor.get("/help/").headers["Location"] == "/help/shifter"
    for name in ("operator", "..%2fREADME", "data-policy"):
        assert visitor.get(f"/help/{name}").status_code == 404


def test_it_names_every_state(texts: dict[str, str]) -> None:
    told = re.findall(r"^\| (\w+) \|", texts["shifter"], flags=re.MULTILINE)
    assert set(ClientState) <= set(told)


def test_it_names_what_the_banner_can_say(texts: dict[str, str]) -> None:
    of_links = (DOCS.parent / "web" / "pages" / "staleness.py").read_text()
    of_connection = (DOCS.parent / "static" / "js" / "connection.js").read_text()
    said = re.findall(r'"((?:The|No|Which|DQM²\'s) [^"{}\n]+)"', of_links)
    said += re.findall(r'"(Th[^"$(\n]+)"', of_connection)
    assert len(said) == 7
    assert [sentence for sentence in said if sentence not in texts["shifter"]] == []
