"""Keyboard shortcuts, help and theme."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import allow_copying
from tests.mirrored_cluster import MirroredCluster, job, write_run
from tests.waiting import until

RUN = 358_791
TIME = r"\d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d CES?T"


@pytest.fixture
def runs(mirrored: MirroredCluster) -> None:
    """Two runs, of which the second has problems."""
    mirrored.write(mirrored.filter_units[0], job(RUN - 1, "beam", exit_code=0))
    write_run(mirrored, RUN, clients=("beam", "beamhlt", "csc", "dt", "ecalgpu", "hcalreco"), lumisections=40)


@pytest.fixture
def live(page: Page, url: str, runs: None) -> Page:
    """The live page of the second run."""
    del runs
    page.goto(url)
    expect(page.locator(".machine-freshness dd").first).to_contain_text("ago")
    return page


def test_it_goes_from_run_to_run(live: Page) -> None:
    live.keyboard.press("ArrowLeft")
    expect(live.locator(".run-number")).to_contain_text(str(RUN - 1))
    live.keyboard.press("ArrowRight")
    expect(live.locator(".run-number")).to_contain_text(str(RUN))
    expect(live.locator("#follow")).to_have_attribute("aria-checked", "false")
    live.keyboard.press("l")
    expect(live.locator("#follow")).to_have_attribute("aria-checked", "true")
    live.keyboard.press("r")
    live.keyboard.type(str(RUN - 1))
    live.keyboard.press("Enter")
    expect(live.locator(".run-number")).to_contain_text(str(RUN - 1))


def test_it_filters_and_expands_a_job(live: Page) -> None:
    live.keyboard.press("/")
    live.keyboard.type("ecalgpu")
    expect(live.locator("tbody:visible")).to_have_count(1)
    live.keyboard.press("Escape")
    expect(live.locator("#filter-text")).not_to_be_focused()
    live.focus("tbody:visible .expander")
    live.keyboard.press("Enter")
    expect(live.locator(".expanded")).to_contain_text("SIGSEGV")
    expect(live.locator("tbody:visible .expander")).to_be_focused()
    live.keyboard.press("Enter")
    expect(live.locator(".expanded")).to_have_count(0)
    # From the filter it expands the first client, and leaves it expanded.
    live.keyboard.press("/")
    live.keyboard.press("Enter")
    expect(live.locator(".expanded")).to_contain_text("SIGSEGV")
    expect(live.locator("tbody:visible .expander")).to_be_focused()
    live.keyboard.press("/")
    live.keyboard.press("Enter")
    expect(live.locator("tbody:visible .expander")).to_be_focused()
    expect(live.locator(".expanded")).to_have_count(1)


@pytest.mark.long
def test_it_expands_and_collapses_rows_before_the_server_responds(live: Page) -> None:
    first, second, third = (live.locator("tbody").nth(number) for number in range(3))
    first.locator(".expander").press("Enter")
    expect(first.locator(".expanded")).to_be_visible()
    # Held until the route is removed.
    live.route("**/live/run*", lambda _route: None)
    first.locator(".expander").press("Enter")
    # From the filter the first client is expanded, although it is about to be collapsed.
    live.keyboard.press("/")
    live.keyboard.press("Enter")
    second.locator(".expander").press("Enter")
    third.locator(".expander").press("Enter")
    second.locator(".expander").press("Enter")
    live.unroute_all()
    expect(third.locator(".expanded")).to_be_visible()
    expect(first.locator(".expanded")).to_be_visible()
    expect(live.locator(".expanded")).to_have_count(2)


def test_it_moves_from_row_to_row(live: Page) -> None:
    rows = live.locator("tbody .expander")
    live.keyboard.press("ArrowDown")
    expect(rows.nth(0)).to_be_focused()
    live.keyboard.press("ArrowDown")
    live.keyboard.press("ArrowDown")
    live.keyboard.press("ArrowUp")
    expect(rows.nth(1)).to_be_focused()
    live.keyboard.press("Enter")
    expect(live.locator("tbody").nth(1).locator(".expanded")).to_be_visible()
    expect(rows.nth(1)).to_be_focused()
    live.keyboard.press("ArrowDown")
    expect(rows.nth(2)).to_be_focused()


@pytest.mark.usefixtures("runs")
def test_it_skips_to_the_content_and_shows_help_that_links_to_the_guides(page: Page, url: str) -> None:
    page.goto(url)
    page.keyboard.press("Tab")
    expect(page.locator(".skip-link")).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    expect(page.locator("#help")).to_contain_text("no report, and its machine has started a newer run")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("?")
    page.click("text=For shifters")
    expect(page.get_by_role("heading", level=1)).to_have_text("For shifters")
    expect(page.get_by_role("cell", name="stuck", exact=True)).to_be_visible()


@pytest.mark.usefixtures("runs")
def test_it_explains_a_term_to_a_finger_and_to_the_keyboard(phone: Page, url: str) -> None:
    phone.goto(url)
    meaning = phone.locator("#term-run-key")
    phone.get_by_role("button", name="Run key").tap()
    expect(meaning).to_contain_text("type of the run")
    expect(meaning).to_be_in_viewport(ratio=1)
    phone.keyboard.press("Escape")
    expect(meaning).to_be_hidden()
    phone.get_by_role("button", name="clients").focus()
    phone.keyboard.press("Enter")
    expect(phone.locator("#term-client")).to_be_focused()
    phone.keyboard.press("Escape")
    expect(phone.get_by_role("button", name="clients")).to_be_focused()


@pytest.mark.long
def test_it_has_help_and_theme_on_each_kind_of_page(page: Page, url: str, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    for path in ("/", "/timeline/", "/help/shifter"):
        page.goto(f"{url}{path}")
        before = page.locator("html").get_attribute("data-bs-theme")
        page.keyboard.press("d")
        expect(page.locator("html")).not_to_have_attribute("data-bs-theme", before or "")
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()


def test_it_copies_the_run_summary_and_confirms_it_while_the_page_is_updated(
    live: Page, url: str, mirrored: MirroredCluster
) -> None:
    allow_copying(live)
    live.keyboard.press("c")
    expect(live.locator("#copy-summary")).to_contain_text("copied")
    copied = live.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"Run {RUN} of the production cluster (run key pp_run, CMSSW_12_4_8_")
    assert "Of 6 clients, 1 has crashed, 1 is stuck, 3 are running and 1 has finished." in copied
    assert re.search(rf"\nThe data were at most (\d min )?\d+ s old\. Copied on {TIME}\.\n", copied)
    assert copied.endswith(f"\n{url}/?db=production&run={RUN}\n")
    mirrored.write(mirrored.filter_units[0], job(RUN, "newcomer"))
    expect(live.locator("[data-client=newcomer]")).to_be_visible()
    expect(live.locator("#copy-summary")).to_contain_text("copied")

    mirrored.beat(datetime.now(UTC) - timedelta(hours=1))
    expect(live.locator(".banner[data-stale]")).to_be_visible()

    def warns() -> bool:
        live.keyboard.press("c")
        copied = live.evaluate("navigator.clipboard.readText()")
        warning = "\nWARNING: the data were old. Nothing has been read from DQM², since "
        return warning in copied and "at most" not in copied

    until(warns)


def test_it_offers_the_run_summary_where_it_can_t_write_to_the_clipboard(live: Page) -> None:
    live.evaluate("delete Navigator.prototype.clipboard")
    live.keyboard.press("c")
    offered = live.get_by_role("dialog", name="Text for the e-log")
    expect(offered.get_by_role("textbox")).to_have_value(
        re.compile(r"^Run \d+ of the production cluster.*\n.*\n- ")
    )
    expect(offered.get_by_role("textbox")).to_be_focused()
    live.keyboard.press("Escape")
    expect(offered).to_be_hidden()
