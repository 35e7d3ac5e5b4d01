"""A tab of Chromium, driven by Playwright."""

from typing import Any

from playwright.sync_api import Error, Page

from tests.browser.engines.tab import PageIsChanging, Tab


class ChromiumTab(Tab):
    """A page of Playwright as a tab."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def goto(self, url: str) -> None:
        self._page.goto(url)

    def run(self, body: str) -> Any:
        try:
            return self._page.evaluate(f"() => {{ {body} }}")
        except Error as error:
            if "context was destroyed" not in str(error):
                raise
            raise PageIsChanging from error

    def click_at(self, x: int, y: int) -> None:
        self._page.mouse.click(x, y)

    def press(self, key: str) -> None:
        self._page.keyboard.press(key)
