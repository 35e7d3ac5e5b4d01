"""The pages fit a phone, have two themes, and never show a stranger's markup as anything but text."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from mirror.records import Log
from tests.browser.conftest import Complaints
from tests.mirrored import MirroredCluster, job, lively_run

RUN = 358_791
# An eighth of a phone's screen.
HIGHEST_BAR = 105
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


def test_it_fits_a_phone(phone: Page, url: str, mirrored: MirroredCluster) -> None:
    jobs = lively_run(mirrored, RUN)
    for path in ("/", f"/job/{jobs[0].origin.identity}", "/cluster/"):
        phone.goto(f"{url}{path}")
        expect(phone.locator(".link dd").first).to_contain_text("ago")
        width, within = widths(phone)
        assert width <= within, path
        assert phone.locator(".top").bounding_box()["height"] < HIGHEST_BAR, path  # type: ignore[index]
    phone.goto(url)
    width, within = phone.locator(".jobs .table-responsive").evaluate(
        "at => [at.scrollWidth, at.clientWidth]"
    )
    assert width <= within


def test_it_takes_the_systems_theme_and_remembers_a_choice(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    lively_run(mirrored, RUN)
    page.emulate_media(color_scheme="dark")
    page.goto(url)
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.click("#theme")
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.reload()
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.click("#theme")
    page.emulate_media(color_scheme="light")
    expect(root).to_have_attribute("data-bs-theme", "light")


def test_it_shows_markup_as_text(page: Page, url: str, mirrored: MirroredCluster) -> None:
    hostile = replace(
        job(RUN, "beam", run_key=MARKUP, cmssw_version=MARKUP, exit_code=3),
        client=MARKUP,
        log=Log(MARKUP, MARKUP),
    )
    mirrored.write(mirrored.filter_units[0], hostile)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(f"{url}/?job={hostile.origin.identity}&q=")
    expect(page.locator("tbody th")).to_contain_text(MARKUP)
    expect(page.locator(".opened .tail")).to_have_text(MARKUP)
    expect(page.locator(".facts").first).to_contain_text(MARKUP)
    page.goto(f"{url}/job/{hostile.origin.identity}")
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
