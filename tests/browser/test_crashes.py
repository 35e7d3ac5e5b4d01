"""The pages of groups of crashes in a browser: accessible, on a phone, and copied for an issue."""

from itertools import cycle

import pytest
from playwright.sync_api import Page, expect

from benchmarks.crash_corpus import CRASH_LOGS
from tests.browser.accessibility import Theme, in_each_theme, violations
from tests.browser.conftest import PHONE, allow_copying, wait_for_scripts
from tests.browser.test_appearance import overflowing_tables, widths
from tests.mirrored_cluster import MirroredCluster, crashed_job, job

RUN = 358_791
_RUNS = 12


@pytest.fixture
def crashes(mirrored: MirroredCluster) -> None:
    """A client that always crashes, and many others that did once."""
    records = [crashed_job(RUN + number, CRASH_LOGS[0], cmssw_version="14_0_1") for number in range(_RUNS)]
    records += [
        crashed_job(
            RUN + number % _RUNS, kind, client=client, cmssw_version=f"14_0_{1 + (number % _RUNS) // 9}"
        )
        for number, (kind, client) in enumerate(
            zip(CRASH_LOGS, cycle(["csc", "ecal", "l1tstage2emulator"]), strict=False)
        )
    ]
    records += [job(RUN + number, "dt", exit_code=0) for number in range(_RUNS)]
    for number, unit in enumerate(mirrored.filter_units):
        mirrored.write(unit, *records[number :: len(mirrored.filter_units)])
    mirrored.beat()


def open_always(page: Page, url: str) -> None:
    """Open the group of the client that always crashes, by the list."""
    page.goto(f"{url}/crashes/?client=csc")
    page.get_by_role("row").filter(has_text="always").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("csc")
    wait_for_scripts(page)


@pytest.mark.long
@in_each_theme
@pytest.mark.usefixtures("crashes")
def test_it_is_accessible(page: Page, url: str, theme: Theme) -> None:
    page.goto(f"{url}/crashes/?kind=exception&client=csc")
    expect(page.locator(".machine-freshness dd").first).to_contain_text("ago")
    assert violations(page, theme, within="#main") == []
    open_always(page, url)
    page.get_by_text("Text for an issue").click()
    assert violations(page, theme, within="#main") == []


@pytest.mark.long
@pytest.mark.usefixtures("crashes")
def test_it_fits_a_phone_and_a_laptop(page: Page, url: str) -> None:
    page.goto(f"{url}/crashes/")
    assert overflowing_tables(page) == []
    page.set_viewport_size(PHONE)
    assert overflowing_tables(page) == []
    assert widths(page) == (PHONE["width"], PHONE["width"])
    open_always(page, url)
    assert overflowing_tables(page) == []
    assert widths(page) == (PHONE["width"], PHONE["width"])


@pytest.mark.long
@pytest.mark.usefixtures("crashes")
def test_it_copies_a_text_for_an_issue_or_offers_it_without_a_clipboard(page: Page, url: str) -> None:
    open_always(page, url)
    allow_copying(page)
    button = page.get_by_role("button", name="Copy for an issue")
    button.click()
    expect(page.locator("#copy-issue")).to_contain_text("copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("### csc: ProductNotFound")
    assert f"]({url}/?db=production&run={RUN})" in copied
    assert copied.endswith(f"]({page.url})")
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    button.click()
    expect(page.locator("#issue-text")).to_be_focused()


# More stops of the Tab key than there are before any of the links.
_MAX_STOPS = 80
# The parts of a field for a time have the browser's own marks.
_FOCUS = """() => {
  const at = document.activeElement, box = at.getBoundingClientRect(), style = getComputedStyle(at);
  const hasOutline = style.outlineStyle !== "none" && style.outlineWidth !== "0px";
  const isInView = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const isVisible = isInView && (hasOutline || style.boxShadow !== "none" || at.type === "datetime-local");
  return [isVisible, at === document.body ? "end of page" : at.textContent.trim()];
}"""


def press_tab_until(page: Page, begin: str) -> None:
    """Move the focus to the next element whose text begins like this; each stop is marked and in view."""
    for _ in range(_MAX_STOPS):
        page.keyboard.press("Tab")
        is_visible, text = page.evaluate(_FOCUS)
        assert is_visible, text
        if text.startswith(begin):
            return
    raise AssertionError(f"no stop at {begin!r}")


def follow(page: Page, link: str, heading: str) -> None:
    """Follow a link by the keyboard to a page with a heading that does not scroll sideways."""
    press_tab_until(page, link)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(heading)
    # Before its end is there, the last stop is not the last one.
    wait_for_scripts(page)
    width, within = widths(page)
    assert width <= within, page.url


@pytest.fixture
def zoomed(page: Page, url: str, crashes: None) -> Page:
    """The groups of a client at 200 % of a laptop's size."""
    del crashes
    page.set_viewport_size({"width": 640, "height": 400})
    page.goto(f"{url}/crashes/?client=csc")
    return page


def test_it_leads_from_a_crash_to_its_line_in_other_logs_by_the_keyboard_alone(zoomed: Page) -> None:
    follow(zoomed, "csc: ProductNotFound", "csc: ProductNotFound")
    follow(zoomed, "this line in other logs", "Search logs")


@pytest.mark.long
def test_it_leads_from_crashes_to_a_report_by_the_keyboard_alone(zoomed: Page) -> None:
    follow(zoomed, "Shift report", "DQM shift report")
    follow(zoomed, "Earlier shift", "DQM shift report")
    press_tab_until(zoomed, "Markdown")
    zoomed.keyboard.press("Enter")
    expect(zoomed.locator("#report-markdown")).to_be_visible()
