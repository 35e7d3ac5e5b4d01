"""The pages fit a phone, have two themes, and never show a stranger's markup as anything but text."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from dqm2.records import JobLog, JobRecord
from tests.browser.conftest import Complaints
from tests.mirrored_cluster import MirroredCluster, job, write_run

RUN = 358_791
# An eighth of a phone's screen.
HIGHEST_BAR = 105
# What WCAG 2.5.8 asks of a target in px.
TARGET = 24
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;"


@pytest.fixture
def phone(browser: Browser, url: str, complaints: Complaints) -> Iterator[Page]:
    assert url
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    complaints.listen_to(page)
    yield page
    context.close()


def widths(page: Page) -> tuple[int, int]:
    width, within = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return width, within


def cut_off(page: Page) -> list[list[int]]:
    """The tables that are wider than their place: both widths."""
    tables = page.locator(".table-responsive")
    found: list[list[int]] = tables.evaluate_all("all => all.map(at => [at.scrollWidth, at.clientWidth])")
    assert found
    return [[width, within] for width, within in found if width > within]


@pytest.fixture
def troubled(mirrored: MirroredCluster) -> list[JobRecord]:
    """The jobs of a run with three problems: one crashed, one is stuck, one is missing."""
    mirrored.write(mirrored.filter_units[0], job(RUN - 1, "visualization", exit_code=0))
    return write_run(mirrored, RUN)


def test_it_fits_a_phone(phone: Page, url: str, troubled: list[JobRecord]) -> None:
    for path in ("/", f"/job/{troubled[0].document.identity}", "/cluster/", "/statistics/"):
        phone.goto(f"{url}{path}")
        expect(phone.locator(".machine-freshness dd").first).to_contain_text("ago")
        width, within = widths(phone)
        assert width <= within, path
        assert phone.locator(".page-header").bounding_box()["height"] < HIGHEST_BAR, path  # type: ignore[index]
    for path in ("/", "/statistics/"):
        phone.goto(f"{url}{path}")
        assert cut_off(phone) == [], path
    expect(phone.get_by_role("row").last).to_contain_text("pp_run")
    head = phone.locator("[data-head='Run key']").first.evaluate(
        "at => getComputedStyle(at, '::before').content"
    )
    assert head == '"Run key"'


@pytest.mark.usefixtures("troubled")
def test_it_shows_the_jobs_of_a_bad_run_on_the_first_screen(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("3 problems")
    expect(page.locator(".job .ago").last).to_contain_text("ago")
    for width in (721, 1024, 1280, 1440, 1600):
        page.set_viewport_size({"width": width, "height": 800})
        expect(page.locator("tbody").nth(9)).to_be_in_viewport(ratio=1)
        assert cut_off(page) == [], width


def test_it_has_line_numbers_that_a_finger_meets(phone: Page, url: str, troubled: list[JobRecord]) -> None:
    phone.goto(f"{url}/job/{troubled[0].document.identity}")
    sizes = phone.locator(".log-lines a").evaluate_all(
        "all => all.map(at => [at.offsetWidth, at.offsetHeight])"
    )
    assert len(sizes) > 100
    assert min(map(min, sizes)) >= TARGET


def test_it_takes_the_systems_theme_and_remembers_a_choice(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    write_run(mirrored, RUN)
    page.emulate_media(color_scheme="dark")
    page.goto(url)
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.click("#theme-toggle")
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.reload()
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.click("#theme-toggle")
    page.emulate_media(color_scheme="light")
    expect(root).to_have_attribute("data-bs-theme", "light")


@pytest.mark.usefixtures("troubled")
def test_it_is_dark_on_light_on_paper_without_what_is_to_be_clicked(page: Page, url: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(url)
    expect(page.locator("#follow")).to_be_visible()
    page.emulate_media(media="print")
    for name in ("#follow", "#go-to", "#filter-text", "#theme-toggle"):
        expect(page.locator(name)).to_be_hidden()
    expect(page.locator(".verdict")).to_contain_text("3 problems")
    expect(page.locator(".jobs")).to_have_css("background-color", "rgb(255, 255, 255)")


def test_it_shows_markup_as_text(page: Page, url: str, mirrored: MirroredCluster) -> None:
    hostile = replace(
        job(RUN, "beam", run_key=MARKUP, cmssw_version=MARKUP, exit_code=3),
        client=MARKUP,
        log=JobLog(MARKUP, MARKUP),
    )
    mirrored.write(mirrored.filter_units[0], hostile)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
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
    page.hover(".cell")
    expect(page.locator("#cell-details")).to_contain_text(MARKUP)
    assert page.locator("img").count() == 0
