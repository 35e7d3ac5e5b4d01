"""A browser tab as the tours see it: addresses, pointer, keyboard, and scripts that look at the page."""

import json
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

from tests.browser.engines.error_recorder import RECORDED_ERRORS
from tests.waiting import until

# Keys of the WebDriver standard by their names in the DOM.
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004", "ArrowDown": "\ue015"}
# Elements that match a selector, are shown, and contain a text, ignoring repeated spaces.
_MATCHING = """
const matching = [...document.querySelectorAll({selector})].filter((element) => element.checkVisibility()
  && element.textContent.replace(/\\s+/g, " ").includes({text}));
"""

# Function of an element: its middle, once it is what is at that point.
_POINT_TO_CLICK = """(element) => {
  if (!element) return null;
  element.scrollIntoView({ block: "center", behavior: "instant" });
  const { left, top, width, height } = element.getBoundingClientRect();
  const point = [Math.round(left + width / 2), Math.round(top + height / 2)];
  const hit = document.elementFromPoint(...point);
  return hit && (element.contains(hit) || hit.contains(element)) ? point : null;
}"""


class PageIsChanging(Exception):
    """Raised when the page is replaced by another one while a script runs in it."""


class Tab(ABC):
    """A tab; the viewport is about 1440 × 900 px."""

    @abstractmethod
    def goto(self, url: str) -> None:
        """Open an address and wait until it is loaded."""

    @abstractmethod
    def run(self, body: str) -> Any:
        """Result of the body of a JavaScript function, as JSON values. Raises PageIsChanging."""

    @abstractmethod
    def click_at(self, x: int, y: int) -> None:
        """Click at a point of the viewport."""

    @abstractmethod
    def press(self, key: str) -> None:
        """Press a key: a character, or a name in `KEYS`."""

    def expect(self, selector: str, text: str = "", *, count: int | None = None) -> None:
        """Wait for visible elements that match a selector and contain a text: at least one, or `count`."""
        condition = "matching.length > 0" if count is None else f"matching.length === {count}"
        self._wait_for(selector, text, condition)

    def expect_in_view(self, selector: str, text: str = "") -> None:
        """Wait until the first such element is in the viewport."""
        box = "matching[0]?.getBoundingClientRect()"
        self._wait_for(selector, text, f"{box}.top < innerHeight && {box}.bottom > 0")

    def click(self, selector: str, text: str = "") -> None:
        """Click in the middle of the first such element, once the page is loaded and nothing covers it."""
        # It may be a link: a page that is left while it loads reports its scripts as errors.
        self.wait_until_loaded()
        x, y = self._wait_for(selector, text, f"({_POINT_TO_CLICK})(matching[0])")
        self.click_at(x, y)

    def _wait_for(self, selector: str, text: str, expression: str) -> Any:
        """Wait until an expression about the elements, `matching`, is true; returns its value."""
        find = _MATCHING.replace("{selector}", json.dumps(selector)).replace("{text}", json.dumps(text))
        values: list[Any] = []

        def is_true() -> bool:
            with suppress(PageIsChanging):
                values.append(self.run(f"{find} return {expression};"))
            return bool(values and values[-1])

        try:
            until(is_true)
        except AssertionError as error:
            page = self.run("return `${location.href}: ${document.body.innerText}`;")
            raise AssertionError(
                f"{selector} {text!r}: {expression}; errors: {self.errors()}; {page}"
            ) from error
        return values[-1]

    def wait_until_loaded(self) -> None:
        """Wait until the page and all that it names are loaded."""

        def is_loaded() -> bool:
            with suppress(PageIsChanging):
                return bool(self.run("return document.readyState === 'complete';"))
            return False

        until(is_loaded)

    def type(self, text: str) -> None:
        """Press the key of each character."""
        for character in text:
            self.press(character)

    def submit(self) -> None:
        """Submit the form of the focused field, which may show suggestions."""
        self.press("Enter")

    def errors(self) -> list[str]:
        """Errors of all pages of this origin that the tab has shown."""
        return list(self.run(f"return {RECORDED_ERRORS};"))
