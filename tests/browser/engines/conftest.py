"""Fixtures: a server whose pages record their errors, and a tab of each engine."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dqmsquare_cfg import Settings
from server import create_app
from tests import skips
from tests.browser.engines import firefox, webkit
from tests.browser.engines.chromium import ChromiumTab
from tests.browser.engines.error_recorder import record_errors
from tests.browser.engines.tab import Tab
from tests.mirrored_cluster import MirroredCluster
from tests.served import server_thread

ENGINES = ("chromium", "firefox", "webkit")


@pytest.fixture
def mirrored(settings: Settings) -> MirroredCluster:
    """The production cluster, empty, with a current heartbeat."""
    cluster = MirroredCluster(settings)
    cluster.beat()
    return cluster


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    """The URL, without trailing slash, of a server whose pages record their errors."""
    app = create_app(settings)
    record_errors(app)
    with server_thread(app) as url:
        yield url


@pytest.fixture(params=ENGINES)
def tab(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Iterator[Tab]:
    """A tab of each engine; an error of a page fails the test."""
    folder = tmp_path / "browser"
    folder.mkdir()
    with ExitStack() as stack:
        tab: Tab
        match request.param:
            case "chromium":
                tab = ChromiumTab(request.getfixturevalue("page"))
            case "firefox":
                executable = skips.require(firefox.PACKAGE)
                tab = stack.enter_context(firefox.firefox_tab(executable, folder))
            case "webkit":
                executable, display = map(skips.require, (webkit.PACKAGE, webkit.DISPLAY_PACKAGE))
                tab = stack.enter_context(webkit.webkit_tab(executable, display, folder))
        yield tab
        tab.goto(f"{url}/help/shifter")
        # WebKit cancels the requests of a page that is left, which htmx logs.
        assert [error for error in tab.errors() if not error.startswith("console: htmx:")] == []
