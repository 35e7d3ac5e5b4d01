"""axe finds nothing serious on any page, in either theme."""

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from tests.mirrored import MirroredCluster, job, lively_run

RUN = 358_791
GRAVE = ("serious", "critical")


def grave_findings(page: Page) -> list[str]:
    """What axe finds, by rule, with the elements that it holds for."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html']}" for rule in found if rule["impact"] in GRAVE for node in rule["nodes"]
    ]


@pytest.fixture(params=["light", "dark"])
def themed(request: pytest.FixtureRequest, page: Page) -> Page:
    page.emulate_media(color_scheme=request.param)
    return page


@pytest.fixture
def job_id(mirrored: MirroredCluster) -> str:
    """The id of a job that crashed, of a run that is shown whole."""
    mirrored.write(mirrored.filter_units[0], job(RUN - 1, "visualization", exit_code=0))
    jobs = lively_run(mirrored, RUN)
    mirrored.see(mirrored.filter_units[0], jobs[0].started_at)
    mirrored.see(mirrored.filter_units[1], jobs[0].started_at, down_because="connection refused")
    mirrored.beat()
    return str(next(record for record in jobs if record.exit_code == -11).origin.identity)


def test_it_is_accessible(themed: Page, url: str, job_id: str) -> None:
    found = {}
    for path in (
        "/",
        f"/?job={job_id}",
        "/?q=nothing",
        "/?run=7",
        f"/job/{job_id}",
        "/cluster/",
        "/timeline/",
    ):
        themed.goto(f"{url}{path}")
        expect(themed.locator(".link dd").first).to_contain_text("ago")
        found[path] = grave_findings(themed)
    assert not any(found.values()), found


def test_it_is_accessible_while_nothing_is_mirrored(themed: Page, url: str) -> None:
    themed.goto(url)
    expect(themed.locator(".verdict")).to_contain_text("No run yet")
    assert not grave_findings(themed)


def test_it_is_accessible_with_its_sheets_open(themed: Page, url: str, job_id: str) -> None:
    themed.goto(f"{url}/?job={job_id}")
    for sheet in ("alerts", "help"):
        themed.click(f"[popovertarget={sheet}]")
        expect(themed.locator(f"#{sheet}")).to_be_visible()
        assert not grave_findings(themed)
