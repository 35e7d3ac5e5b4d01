"""Layout on phones and laptops, themes, print, and escaping of HTML."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from dqm2.records import JobLog, JobRecord
from tests.browser.conftest import box_of, wait_for_first_update
from tests.mirrored_cluster import MirroredCluster, job, write_run

RUN = 358_791
# An eighth of a phone's screen.
MAX_HEADER_HEIGHT = 105
# Minimum target size of WCAG 2.5.8, in px.
MIN_TARGET_SIZE = 24
MIN_LAPTOP_WIDTH = 1280
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;"


def widths(page: Page) -> tuple[int, int]:
    width, within = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return width, within


def overflowing_tables(page: Page) -> list[list[int]]:
    """Width and available width of each table that does not fit."""
    tables = page.locator(".table-responsive")
    found: list[list[int]] = tables.evaluate_all("all => all.map(at => [at.scrollWidth, at.clientWidth])")
    assert found
    return [[width, within] for width, within in found if width > within]


def are_in_one_row(page: Page, selector: str) -> bool:
    """Whether elements are next to each other: none begins below the end of another."""
    boxes: list[tuple[float, float]] = page.locator(selector).evaluate_all(
        "all => all.map(at => at.getBoundingClientRect()).map(({top, bottom}) => [top, bottom])"
    )
    return max(top for top, _bottom in boxes) < min(bottom for _top, bottom in boxes)


@pytest.fixture
def run_with_problems(mirrored: MirroredCluster) -> None:
    """A run with three problems: a crashed, a stuck and a missing client."""
    mirrored.write(mirrored.filter_units[0], job(RUN - 1, "visualization", exit_code=0))
    clients = ("beam", "beamhlt", "csc", "ctpps", "dt", "ecal", "ecalgpu", "es", "hcalreco", "rpc", "sistrip")
    write_run(mirrored, RUN, clients=clients)


def open_fitting(page: Page, address: str) -> None:
    """Open an address, whose page is as wide as the phone and has a low header."""
    page.goto(address)
    wait_for_first_update(page)
    width, within = widths(page)
    assert width <= within, address
    assert box_of(page.locator(".page-header"))["height"] < MAX_HEADER_HEIGHT, address


def test_it_fits_a_phone_on_which_a_touch_expands_a_job(
    phone: Page, url: str, mirrored: MirroredCluster
) -> None:
    jobs = write_run(mirrored, RUN, clients=("beam", "dt", "ecalgpu", "hcalreco"))
    # The widest age. It changes within a minute.
    long_ago = datetime.now(UTC) - timedelta(hours=23, minutes=59)
    veteran = job(RUN, "veteran", at=long_ago, exit_code=0)
    mirrored.write(mirrored.filter_units[0], veteran, clock_at=datetime.now(UTC))
    open_fitting(phone, f"{url}/cluster/")
    open_fitting(phone, url)
    expect(phone.locator("[data-client=veteran] .job .ago")).to_contain_text("ago")
    assert overflowing_tables(phone) == []
    # The cells are as high as the row, and a link of its second line is near the middle of this one.
    phone.locator("[data-client=ecalgpu] .job .ago").tap()
    expect(phone.locator("[data-client=ecalgpu] .expanded")).to_contain_text("SIGSEGV")

    open_fitting(phone, f"{url}/statistics/")
    assert overflowing_tables(phone) == []
    expect(phone.get_by_role("row").last).to_contain_text("pp_run")
    head = phone.locator("[data-head='Run key']").first.evaluate(
        "at => getComputedStyle(at, '::before').content"
    )
    assert head == '"Run key"'

    open_fitting(phone, f"{url}/job/{jobs[0].document.identity}")
    # Line numbers are large enough for a finger.
    sizes = phone.locator(".log-lines a").evaluate_all(
        "all => all.map(at => [at.offsetWidth, at.offsetHeight])"
    )
    assert len(sizes) > 100
    assert min(map(min, sizes)) >= MIN_TARGET_SIZE


LONG_VERSION = f"12_4_8_{'_'.join(['39145'] * 25)}"


@pytest.fixture
def long_named(mirrored: MirroredCluster) -> JobRecord:
    """A job whose names are as long as they may be, in a run after a usual one."""
    record = job(RUN, "c" * 100, exit_code=-11, run_key="k" * 40, cmssw_version=LONG_VERSION)
    usual = job(RUN - 1, "beam", run_key="commissioning_run", cmssw_version="12_4_8_39145_39162_39341")
    mirrored.write(mirrored.filter_units[0], usual, record, job(RUN, "beam", cmssw_version=LONG_VERSION))
    return record


def expect_to_fit(page: Page) -> None:
    """A page has a heading and does not scroll sideways, neither on a phone nor on a laptop."""
    assert page.locator("h1").count() == 1
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert widths(page) == (width, width), page.url


@pytest.mark.long
def test_the_longest_names_hide_nothing_else(page: Page, url: str, long_named: JobRecord) -> None:
    page.goto(f"{url}/?run={RUN - 1}")
    facts = page.locator(".run .fact dd")
    expect(facts).to_have_count(2)
    assert facts.evaluate_all("all => all.filter(at => at.scrollWidth > at.clientWidth).length") == 0
    page.goto(url)
    release = page.locator(".run .fact dd", has_text=LONG_VERSION)
    end = release.evaluate("at => at.getBoundingClientRect().right")
    assert end <= page.locator(".figures").evaluate("at => at.getBoundingClientRect().left")
    expect_to_fit(page)
    page.goto(f"{url}/timeline/")
    expect(page.locator(".client-head", has_text="beam")).to_be_in_viewport()
    expect_to_fit(page)
    page.goto(f"{url}/job/{long_named.document.identity}")
    expect_to_fit(page)


@pytest.mark.long
@pytest.mark.usefixtures("long_named")
@pytest.mark.parametrize("path", ["statistics/", "report/shift", "report/efficiency"])
def test_the_longest_names_fit_tables_of_runs(page: Page, url: str, path: str) -> None:
    page.goto(f"{url}/{path}")
    expect_to_fit(page)


@pytest.mark.usefixtures("run_with_problems")
def test_it_shows_the_first_jobs_without_scrolling(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("3 problems")
    expect(page.locator(".job .ago").last).to_contain_text("ago")
    for width in (721, 1024, 1280, 1440, 1600):
        page.set_viewport_size({"width": width, "height": 800})
        expect(page.locator("tbody").nth(9)).to_be_in_viewport(ratio=1)
        assert overflowing_tables(page) == [], width
        if width >= MIN_LAPTOP_WIDTH:
            assert are_in_one_row(page, ".verdict, .run, .figures"), width
            assert are_in_one_row(page, ".header-nav, .freshness-bar"), width
            assert are_in_one_row(page, "#previous-run, .run-number, #go-to"), width


def test_it_uses_the_system_theme_and_remembers_a_choice(page: Page, url: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(f"{url}/help/shifter")
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.click("#theme-toggle")
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.reload()
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.click("#theme-toggle")
    page.emulate_media(color_scheme="light")
    expect(root).to_have_attribute("data-bs-theme", "light")


@pytest.mark.usefixtures("run_with_problems")
def test_on_paper_it_is_light_without_controls_and_says_whose_page_it_is_and_of_when(
    page: Page, url: str
) -> None:
    """A page of portrait paper is as narrow as a phone, but laid out as on a screen."""
    page.set_viewport_size({"width": 718, "height": 1000})
    page.emulate_media(color_scheme="dark")
    age, head = page.locator(".machine-freshness dd").first, page.locator(".print-head")
    page.goto(url)
    expect(age).to_contain_text("ago")
    expect(page.locator("#follow")).to_be_visible()
    expect(head).to_be_hidden()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for name in ("#follow", "#go-to", "#filter-text", "#theme-toggle"):
        expect(page.locator(name)).to_be_hidden()
    expect(page.locator(".verdict")).to_contain_text("3 problems")
    expect(page.locator(".jobs")).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(age).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
    expect(head).to_contain_text(re.compile(r"production cluster, printed .* CES?T"))
    expect(page.locator("table thead").first).to_have_css("position", "static")
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(age).to_contain_text("ago")

    page.goto(f"{url}/statistics/")
    expect(age).to_contain_text("ago")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(age).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
    expect(page.locator("table thead").first).to_have_css("position", "static")


def test_it_escapes_html(page: Page, url: str, mirrored: MirroredCluster) -> None:
    """A script that the server's policy refuses would be a console error."""
    hostile = replace(
        job(RUN, "beam", run_key=MARKUP, cmssw_version=MARKUP, exit_code=3),
        client=MARKUP,
        log=JobLog(MARKUP, MARKUP),
    )
    mirrored.write(mirrored.filter_units[0], hostile)
    page.goto(f"{url}/?job={hostile.document.identity}&q=")
    expect(page.locator("tbody th")).to_contain_text(MARKUP)
    expect(page.locator(".expanded .log-tail")).to_have_text(MARKUP)
    expect(page.locator(".facts").first).to_contain_text(MARKUP)
    page.goto(f"{url}/job/{hostile.document.identity}")
    expect(page.locator("h1")).to_contain_text(MARKUP)
    expect(page.locator("#L1 code")).to_have_text(MARKUP)
    assert page.locator("img").count() == 0
    page.goto(f"{url}/statistics/")
    expect(page.locator("tbody")).to_contain_text(MARKUP)
    page.goto(f"{url}/timeline/")
    expect(page.locator("tbody th")).to_contain_text(MARKUP)
    wait_for_first_update(page)
    page.hover(".cell")
    expect(page.locator("#cell-details")).to_contain_text(MARKUP)
    assert page.locator("img").count() == 0
