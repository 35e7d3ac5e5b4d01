"""The page that all tests share is as new for each of them."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.browser.conftest import LAPTOP
from tests.browser.reused_page import ReusedPage

LEAVE_TRACES = "() => { localStorage.name = sessionStorage.name = 'value'; document.cookie = 'name=value'; }"
TRACES = """async () => [
    "name" in localStorage, "name" in sessionStorage, document.cookie, innerWidth, innerHeight,
    matchMedia("print").matches, matchMedia("(prefers-color-scheme: dark)").matches,
    (await navigator.permissions.query({ name: "clipboard-read" })).state,
]"""


def test_nothing_stays_of_what_a_test_does(laptop: ReusedPage, url: str) -> None:
    with laptop.lend() as page:
        page.goto(url)
        page.evaluate(LEAVE_TRACES)
        page.emulate_media(media="print", color_scheme="dark")
        page.set_viewport_size({"width": 300, "height": 300})
        page.context.grant_permissions(["clipboard-read"])
        page.context.new_page()
        page.route("**/*", lambda route: route.fulfill(body="not of the server"))
    with laptop.lend() as page:
        page.goto(url)
        expected = [False, False, "", LAPTOP["width"], LAPTOP["height"], False, False, "prompt"]
        assert page.evaluate(TRACES) == expected
        assert page.title() != ""
        assert page.context.pages == [page]


@pytest.mark.usefixtures("url")
def test_a_clock_that_would_stay_is_an_error(laptop: ReusedPage) -> None:
    with pytest.raises(AssertionError, match="needs a page of its own"), laptop.lend() as page:
        page.clock.install()
    with laptop.lend() as page:
        assert not page.evaluate("'__pwClock' in window")


def test_a_clock_is_right_and_runs_again(laptop_with_clock: ReusedPage, url: str) -> None:
    with laptop_with_clock.lend() as page:
        page.goto(f"{url}/healthz")
        page.clock.pause_at(datetime.now(UTC) + timedelta(days=1))
        page.clock.run_for("01:00")
    with laptop_with_clock.lend() as page:
        page.goto(f"{url}/healthz")
        shown = datetime.fromtimestamp(page.evaluate("Date.now()") / 1000, UTC)
        assert abs(datetime.now(UTC) - shown) < timedelta(hours=1)
        page.wait_for_function("(start) => Date.now() > start", arg=page.evaluate("Date.now()"))
