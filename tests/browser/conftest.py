"""What browser tests stand on: a mirrored cluster, a server that shows it, a page that is watched."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from dqmsquare_cfg import Cluster, Settings
from server import create_app
from tests.mirrored_cluster import MirroredCluster
from tests.served import server_thread

# Quick enough that a test need not wait, and slow enough that two answers are told apart.
QUERY_INTERVAL_MS = "500"
# On a busy machine what is expected can take longer than the 5 s that Playwright waits for it.
_PATIENCE_MS = 30_000
expect.set_options(timeout=_PATIENCE_MS)


@dataclass
class Complaints:
    """What a browser complained of: errors on the console, breaches of the policy, failures of scripts.

    A test that makes trouble says so by `allowed`: words that a complaint may hold.
    """

    allowed: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)

    def listen_to(self, page: Page) -> None:
        """Takes note of what a page complains of from now on."""
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.heard.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.heard.append(message.text)

    @property
    def unexpected(self) -> list[str]:
        """What no test allowed."""
        return [text for text in self.heard if not any(words in text for words in self.allowed)]


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """The environment of the server under test, which pages ask often."""
    return {**environment, "FRONTEND_API_QUERY_INTERVAL": QUERY_INTERVAL_MS, "STALE_AFTER_S": "30"}


@pytest.fixture
def mirrored(settings: Settings) -> MirroredCluster:
    """The production cluster, fresh and empty."""
    cluster = MirroredCluster(settings)
    cluster.beat()
    return cluster


@pytest.fixture
def playback(settings: Settings) -> MirroredCluster:
    """The playback cluster, fresh and empty."""
    cluster = MirroredCluster(settings, Cluster.PLAYBACK)
    cluster.beat()
    return cluster


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    """The address of a server that shows the clusters, without the slash; it runs in a thread of its own."""
    with server_thread(create_app(settings)) as url:
        yield url


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """What the browser complained of; at the end of the test it must be nothing that was not allowed."""
    complaints = Complaints()
    yield complaints
    assert not complaints.unexpected


@pytest.fixture
def context(browser: Browser, url: str) -> Iterator[BrowserContext]:
    """A reader's browser, on a laptop's screen; it is closed before the server is, or it would complain."""
    assert url
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(_PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, complaints: Complaints) -> Page:
    """A page whose complaints count."""
    page = context.new_page()
    complaints.listen_to(page)
    return page
