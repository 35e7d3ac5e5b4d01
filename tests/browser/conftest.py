"""Fixtures of the browser tests: mirrored clusters, a server, and pages whose console errors fail a test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, FloatRect, Locator, Page, ViewportSize, expect

from dqmsquare_cfg import Cluster, Settings
from server import create_app
from tests.browser.reused_page import CurrentApplication, ReusedPage, current_application
from tests.mirrored_cluster import MirroredCluster
from tests.served import with_fast_passwords
from tests.waiting import TIMEOUT_S, until

# Nothing writes heartbeats while a test runs; on a loaded machine it may take minutes.
STALE_AFTER_S = "240"
# Playwright's default of 5 s is too short on a loaded machine.
TIMEOUT_MS = TIMEOUT_S * 1000
LAPTOP: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
expect.set_options(timeout=TIMEOUT_MS)


_REFRESH = """(ids) => Promise.all(ids.map((id) => new Promise((resolve) => {
    document.addEventListener("htmx:afterRequest", function done({ detail }) {
        if (detail.elt.id !== id) return;
        document.removeEventListener("htmx:afterRequest", done);
        resolve();
    });
    htmx.trigger(document.getElementById(id), "refresh");
})))"""


def refresh(page: Page, *parts: str) -> None:
    """Let parts of a page, by their ids, request what is new, and wait until it is shown."""
    page.evaluate(_REFRESH, parts)


def update(page: Page) -> None:
    """Let a page request what is new before its next poll, as it does when its computer is online again."""
    page.evaluate("dispatchEvent(new Event('online'))")


def allow_copying(page: Page) -> None:
    """Let the page that is open copy to the clipboard.

    Its confirmation, which is there for a moment, stays: a test on a loaded machine may look for it too late.
    """
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("() => { window.setTimeout = () => 0; }")


def wait_for_scripts(page: Page) -> None:
    """Wait until the scripts of a page that a click or a key has opened respond to further ones.

    Something of the new page must have been seen: the page before has been loaded all along.
    """
    page.wait_for_load_state()


def wait_for_first_update(page: Page) -> None:
    """Wait until the page has the server's time, and its header the size that ages give it."""
    expect(page.locator(".machine-freshness dd").first).to_contain_text("ago")


def box_of(locator: Locator) -> FloatRect:
    """The place of an element; waits for it if scripts are about to draw it again."""
    boxes: list[FloatRect | None] = []

    def has_box() -> bool:
        boxes.append(locator.bounding_box())
        return boxes[-1] is not None

    until(has_box)
    box = boxes[-1]
    assert box
    return box


# As if each response had been sent at the page's own time.
_WITHOUT_SERVER_TIME = """() => {
    const { getResponseHeader } = XMLHttpRequest.prototype;
    XMLHttpRequest.prototype.getResponseHeader = function (name) {
        return name === "Server-Time" ? String(Date.now()) : getResponseHeader.call(this, name);
    };
}"""


def pause_time(page: Page) -> None:
    """Stop the time of a page whose clock is installed: only the test lets it pass."""
    page.evaluate(_WITHOUT_SERVER_TIME)
    page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))


def pass_time(page: Page, is_over: Callable[[], object]) -> None:
    """Let minutes pass on a page whose clock is installed, with requests in each, until `is_over`."""

    # A response sets the page back to the server's time, perhaps before a timer sees that the minute is over.
    def is_over_after_a_minute() -> object:
        page.clock.fast_forward("01:00")
        update(page)
        return is_over()

    until(is_over_after_a_minute)


def update_pages(browser: Browser) -> None:
    """Let all open pages request what is new."""
    for context in browser.contexts:
        for page in context.pages:
            update(page)


class OpenPage(Protocol):
    """Opens a page in a new browser context; `options` are those of Playwright's `new_context`."""

    def __call__(self, **options: Any) -> Page: ...


@dataclass
class ConsoleErrors:
    """Console errors, violations of the Content-Security-Policy and uncaught exceptions of a page.

    A test that causes errors adds a part of their text to `allowed`.
    """

    allowed: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    @contextmanager
    def of(self, page: Page) -> Iterator[Page]:
        """Record the errors of a page."""
        page.on("console", self._record)
        page.on("pageerror", self._record_exception)
        try:
            yield page
        finally:
            # The errors so far arrive before the response, even if the page is just being left.
            with suppress(Error):
                page.evaluate("null")
            page.remove_listener("console", self._record)
            page.remove_listener("pageerror", self._record_exception)

    def _record(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.messages.append(message.text)

    def _record_exception(self, error: Error) -> None:
        self.messages.append(str(error))

    @property
    def unexpected(self) -> list[str]:
        """Errors that the test does not allow."""
        return [text for text in self.messages if not any(part in text for part in self.allowed)]


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """The environment of the server under test."""
    return {**environment, "STALE_AFTER_S": STALE_AFTER_S}


@pytest.fixture
def mirrored(settings: Settings, browser: Browser) -> MirroredCluster:
    """The production cluster, empty, with a current heartbeat; open pages show at once what is written."""
    cluster = MirroredCluster(settings, Cluster.PRODUCTION, lambda: update_pages(browser))
    cluster.beat()
    return cluster


@pytest.fixture
def playback(settings: Settings, browser: Browser) -> MirroredCluster:
    """The playback cluster, like `mirrored`."""
    cluster = MirroredCluster(settings, Cluster.PLAYBACK, lambda: update_pages(browser))
    cluster.beat()
    return cluster


@pytest.fixture
def console_errors() -> Iterator[ConsoleErrors]:
    """The console errors of the test's pages; an error that is not allowed fails the test."""
    console_errors = ConsoleErrors()
    yield console_errors
    assert not console_errors.unexpected


@pytest.fixture(scope="session")
def current() -> Iterator[CurrentApplication]:
    """The server of all tests, whose application is that of the current one."""
    with current_application() as current:
        yield current


@pytest.fixture
def url(current: CurrentApplication, settings: Settings) -> str:
    """The URL, without trailing slash, of the application under test."""
    current.application = create_app(with_fast_passwords(settings))
    return f"{current.url}{settings.server_url_prefix}"


@pytest.fixture(scope="session")
def laptop(browser: Browser, current: CurrentApplication) -> Iterator[ReusedPage]:
    """The page on a laptop of all tests."""
    with ReusedPage(browser, current.url, viewport=LAPTOP) as reused:
        yield reused


@pytest.fixture(scope="session")
def laptop_with_clock(browser: Browser, current: CurrentApplication) -> Iterator[ReusedPage]:
    """The page on a laptop of all tests marked `clock`."""
    with ReusedPage(browser, current.url, has_clock=True, viewport=LAPTOP) as reused:
        yield reused


@pytest.fixture(scope="session")
def smartphone(browser: Browser, current: CurrentApplication) -> Iterator[ReusedPage]:
    """The page on a phone of all tests."""
    with ReusedPage(browser, current.url, viewport=PHONE, has_touch=True, is_mobile=True) as reused:
        yield reused


@pytest.fixture
def page(request: pytest.FixtureRequest, url: str, console_errors: ConsoleErrors) -> Iterator[Page]:
    """A page on a laptop, without cookies.

    A test marked `clock` may move the page's clock. The page of a test marked `own_page` has a browser
    context of its own: the test may add scripts and listeners, or open pages of other servers. All these
    would stay for the next test.

    It depends on `url` so that the page is left before the database is dropped.
    """
    del url
    has_clock = request.node.get_closest_marker("clock")
    if not request.node.get_closest_marker("own_page"):
        reused: ReusedPage = request.getfixturevalue("laptop_with_clock" if has_clock else "laptop")
        with reused.lend() as page, console_errors.of(page):
            yield page
        return
    page = request.getfixturevalue("open_page")(viewport=LAPTOP)
    if has_clock:
        page.clock.install()
    yield page


@pytest.fixture
def phone(smartphone: ReusedPage, url: str, console_errors: ConsoleErrors) -> Iterator[Page]:
    """A page on a phone, like `page`."""
    del url
    with smartphone.lend() as page, console_errors.of(page):
        yield page


@pytest.fixture
def open_page(browser: Browser, url: str, console_errors: ConsoleErrors) -> Iterator[OpenPage]:
    """Opens a page in a browser context of its own, with options of it; its console errors fail the test.

    It depends on `url` like `page`.
    """
    del url
    with ExitStack() as contexts:

        def open_(**options: Any) -> Page:
            context = contexts.enter_context(browser.new_context(**options))
            context.set_default_timeout(TIMEOUT_MS)
            return contexts.enter_context(console_errors.of(context.new_page()))

        yield open_
