"""Without JavaScript pages show the current state, and their links and forms work."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.mirrored_cluster import MirroredCluster, job, write_run

RUN = 358_791
_HEADER_HEIGHTS = """header => [
    `${header.offsetHeight}px`, getComputedStyle(header).getPropertyValue("--header-height"),
]"""


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """A page that runs no scripts."""
    return open_page(java_script_enabled=False)


@pytest.fixture(autouse=True)
def runs(mirrored: MirroredCluster) -> None:
    """An ongoing run and the one before it."""
    mirrored.write(mirrored.filter_units[0], job(RUN - 1, "beam", exit_code=0))
    write_run(mirrored, RUN, clients=("beam", "csc", "ecalgpu", "hcalreco"), lumisections=40)


@pytest.mark.long
def test_it_shows_the_newest_run_and_goes_from_run_to_run(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator(".run-number")).to_contain_text(str(RUN))
    expect(page.locator(".verdict")).to_contain_text("2 problems")
    expect(page.locator("tbody")).to_have_count(4)
    expect(page.locator("tbody").first).to_contain_text("crashed")
    expect(page.locator(".machine-freshness dd").first).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
    actual, assumed = page.locator(".page-header").evaluate(_HEADER_HEIGHTS)
    assert actual == assumed
    page.click("#previous-run")
    expect(page.locator(".run-number")).to_contain_text(str(RUN - 1))
    page.fill("#go-to-run", str(RUN))
    page.press("#go-to-run", "Enter")
    expect(page.locator(".run-number")).to_contain_text(str(RUN))


def test_it_sorts_filters_expands_and_shows_a_log(page: Page, url: str) -> None:
    page.goto(url)
    page.click("#sort-client")
    expect(page.locator("tbody").first).to_contain_text("beam")
    page.click(".count.state-crashed")
    expect(page.locator("tbody:visible")).to_have_count(1)
    page.click("tbody:visible .expander")
    expect(page.locator(".expanded")).to_contain_text("SIGSEGV")
    page.click("tbody:visible .log >> nth=0")
    expect(page.locator("#log-lines")).to_contain_text("-- process exit: -11 --")
    page.go_back()
    page.fill("#filter-text", "no such client")
    page.press("#filter-text", "Enter")
    expect(page.locator("#jobs > .empty-state")).to_contain_text("No client matches the filter")
    assert "sort=client" in page.url


@pytest.mark.long
def test_it_says_when_the_page_was_made_and_shows_no_empty_parentheses_for_ages(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    mirrored.set_machine_state(
        mirrored.filter_units[0], datetime.now(UTC) - timedelta(hours=1), down_reason="off"
    )
    mirrored.beat(datetime.now(UTC) - timedelta(minutes=5))
    for path in ("/", "/cluster/"):
        page.goto(f"{url}{path}")
        expect(page.locator("main")).to_contain_text(mirrored.label(mirrored.filter_units[0]))
        assert not re.search(r"\(\s*\)", page.inner_text("body")), path
        expect(page.locator(".footer")).to_contain_text(
            re.compile(
                r"This page is as of \d\d \w{3} \d{4} \d\d:\d\d:00 CES?T\. It needs JavaScript to update"
            )
        )
    expect(page.locator(".machine-state").first).to_contain_text(
        re.compile(r"checked (\d\d \w{3} (\d{4} )?)?\d\d:\d\d:\d\d")
    )
