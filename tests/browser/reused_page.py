"""Pages that serve test after test, and the server at one address that lets their browser keep its cache.

A page in a new context starts a process that loads and compiles every script again.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Browser, BrowserContext, Page
from werkzeug.wrappers import Response

from tests.served import server_thread
from tests.waiting import TIMEOUT_S
from web.responses import SECURITY_HEADERS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# An empty page of the same origin, on which a reused page waits for the next test. It has the headers of all
# pages: for one with another opener policy, Chromium makes a new view, and computes styles twice before.
_BLANK_PATH = "/blank-page-of-the-tests"
_CLEAR_STORAGE = """async () => {
    localStorage.clear();
    sessionStorage.clear();
    const workers = await navigator.serviceWorker.getRegistrations();
    await Promise.all(workers.map((worker) => worker.unregister()));
    return "__pwClock" in window;
}"""


class CurrentApplication:
    """WSGI application that is another one for each test."""

    def __init__(self) -> None:
        self.url = ""
        self.application: WSGIApplication = Response(status=503)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] == _BLANK_PATH:
            return Response(mimetype="text/html", headers=SECURITY_HEADERS)(environ, start_response)
        return self.application(environ, start_response)


@contextmanager
def current_application() -> Iterator[CurrentApplication]:
    """Serve one application after the other at the same address."""
    current = CurrentApplication()
    with server_thread(current) as current.url:
        yield current


class ReusedPage:
    """A page in a browser context with `options`, which are those of Playwright's `new_context`.

    A test may not add a clock, scripts or listeners to it, which would stay. If `has_clock`, it has a clock,
    which is right and runs at the start of each test.
    """

    def __init__(self, browser: Browser, origin: str, *, has_clock: bool = False, **options: Any) -> None:
        self._browser = browser
        self._origin = origin
        self._has_clock = has_clock
        self._options = options
        self._context: BrowserContext | None = None

    def __enter__(self) -> "ReusedPage":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @contextmanager
    def lend(self) -> Iterator[Page]:
        """The page as if it were new, apart from the browser's cache."""
        if self._context is None:
            self._context = self._browser.new_context(**self._options)
            self._context.set_default_timeout(TIMEOUT_S * 1000)
            self._context.new_page()
        page = self._context.pages[0]
        if self._has_clock:
            page.clock.install()
            page.clock.resume()
        try:
            yield page
            self._reset(page)
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        if self._context is not None:
            self._context.close()
            self._context = None

    def _reset(self, page: Page) -> None:
        """Undo what a test changed of the page and its context."""
        context = page.context
        for other in context.pages[1:]:
            other.close()
        page.unroute_all()
        page.goto(f"{self._origin}{_BLANK_PATH}")
        has_clock = page.evaluate(_CLEAR_STORAGE)
        assert has_clock == self._has_clock, "a test that installs a clock needs a page of its own"
        context.clear_cookies()
        context.clear_permissions()
        # The defaults of a new context.
        page.emulate_media(
            media="null",
            color_scheme="light",
            reduced_motion="no-preference",
            forced_colors="none",
            contrast="no-preference",
        )
        if page.viewport_size != self._options["viewport"]:
            page.set_viewport_size(self._options["viewport"])
        # Otherwise the next page would show what is under the pointer.
        page.mouse.move(-1, -1)
