"""axe finds nothing serious on any page, in either theme."""

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints
from tests.mirrored_cluster import MirroredCluster, job, write_run

RUN = 358_791
GRAVE = ("serious", "critical")
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def grave_findings(page: Page, **rules: bool) -> list[str]:
    """What axe finds, by rule, with the elements that it holds for; `rules` are switched on or off."""
    options = {"rules": {name.replace("_", "-"): {"enabled": is_on} for name, is_on in rules.items()}}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']}: {node['html']}" for rule in found if rule["impact"] in GRAVE for node in rule["nodes"]
    ]


def in_each_theme(page: Page) -> dict[str, list[str]]:
    """What axe finds of the page as it stands, theme by theme."""
    found = {}
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
        # Buttons fade from one theme's colours to the other's.
        page.evaluate("Promise.all(document.getAnimations().map((fading) => fading.finished))")
        found[theme] = grave_findings(page)
    return {theme: findings for theme, findings in found.items() if findings}


@pytest.fixture
def job_id(mirrored: MirroredCluster) -> str:
    """The id of a job that crashed, of a run that is shown whole."""
    mirrored.write(mirrored.filter_units[0], job(RUN - 1, "visualization", exit_code=0))
    jobs = write_run(mirrored, RUN)
    mirrored.set_machine_state(mirrored.filter_units[0], jobs[0].started_at)
    mirrored.set_machine_state(
        mirrored.filter_units[1], jobs[0].started_at, down_because="connection refused"
    )
    mirrored.beat()
    return str(next(record for record in jobs if record.exit_code == -11).document.identity)


def test_it_is_accessible(page: Page, url: str, job_id: str) -> None:
    found = {}
    for path in (
        "/",
        f"/?job={job_id}",
        "/?q=nothing",
        "/?run=7",
        f"/job/{job_id}",
        "/cluster/",
        "/timeline/",
        "/timeline/?from=1&to=2",
        "/statistics/",
    ):
        page.goto(f"{url}{path}")
        expect(page.locator(".machine-freshness dd").first).to_contain_text("ago")
        found[path] = in_each_theme(page)
    assert not any(found.values()), found


def test_it_can_be_hit_with_a_finger(page: Page, url: str, job_id: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    found = {}
    for path in ("/", f"/?job={job_id}", "/timeline/", "/cluster/", "/statistics/", "/cr/"):
        page.goto(f"{url}{path}")
        found[path] = grave_findings(page, target_size=True)
    assert not any(found.values()), found


def test_it_is_accessible_where_it_explains_and_where_it_refuses(
    page: Page, url: str, complaints: Complaints
) -> None:
    complaints.allowed = ["404"]
    for path in ("/help/shifter", "/help/control-room", "/nowhere"):
        page.goto(f"{url}{path}")
        assert in_each_theme(page) == {}, path


def test_it_is_accessible_while_nothing_is_mirrored(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("No run yet")
    assert in_each_theme(page) == {}


def test_it_is_accessible_with_its_sheets_open(page: Page, url: str, job_id: str) -> None:
    page.goto(f"{url}/?job={job_id}")
    for sheet in ("alerts", "help"):
        page.click(f"[popovertarget={sheet}]")
        expect(page.locator(f"#{sheet}")).to_be_visible()
        assert in_each_theme(page) == {}
