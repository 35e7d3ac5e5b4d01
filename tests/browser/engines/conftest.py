"""Fixtures: a server whose pages record their errors, and a tab of each engine."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from dqmsquare_cfg import Settings
from server import create_app
from tests import skips
from tests.browser.conftest import LAPTOP
from tests.browser.engines import firefox
from tests.browser.engines.chromium import ChromiumTab
from tests.browser.engines.error_recorder import record_errors
from tests.browser.engines.tab import Tab
from tests.examples import core_of
from tests.mirrored_cluster import MirroredCluster, beating_cluster
from tests.served import server_thread

# The other browser tests use Chromium anyway. An engine takes seconds to start.
ENGINES = core_of(("chromium", "firefox", "webkit"), "firefox")


@pytest.fixture
def mirrored(settings: Settings) -> MirroredCluster:
    """The production cluster, empty, with a current heartbeat."""
    return beating_cluster(settings)


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    """The URL, without trailing slash, of a server whose pages record their errors."""
    app = create_app(settings)
    record_errors(app)
    with server_thread(app) as url:
        yield url


@pytest.fixture(scope="package")
def open_tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Tab]]:
    """The tab of Firefox or WebKit, in a browser that starts for the first test: that takes seconds.

    Nothing stays in it from test to test: each has a server at another port, and so another origin.
    """
    with ExitStack() as stack:

        @cache
        def open_(engine: str) -> Tab:
            folder = tmp_path_factory.mktemp(engine)
            if engine == "firefox":
                return stack.enter_context(firefox.firefox_tab(skips.require(firefox.PACKAGE), folder))
            # Selenium takes half a second to import, in one of the workers only.
            from tests.browser.engines import webkit

            executable, display = map(skips.require, (webkit.PACKAGE, webkit.DISPLAY_PACKAGE))
            return stack.enter_context(webkit.webkit_tab(executable, display, folder))

        yield open_


@pytest.fixture(params=ENGINES)
def tab(request: pytest.FixtureRequest, url: str) -> Iterator[Tab]:
    """A tab of each engine; an error of a page fails the test."""
    tab: Tab
    if request.param == "chromium":
        tab = ChromiumTab(request.getfixturevalue("open_page")(viewport=LAPTOP))
    else:
        tab = request.getfixturevalue("open_tab")(request.param)
    yield tab
    # A page that is left while it loads reports its scripts as errors.
    tab.wait_until_loaded()
    tab.goto(f"{url}/healthz")
    # WebKit cancels the requests of a page that is left, which htmx logs.
    assert [error for error in tab.errors() if not error.startswith("console: htmx:")] == []
    tab.goto("about:blank")
