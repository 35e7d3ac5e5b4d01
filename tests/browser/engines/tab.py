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

    def count(self, selector: str, text: str = "") -> int:
        """Number of the visible elements that match a selector and contain a text."""
        return int(self.run(f"{_script(selector, text)} return matching.length;"))

    def expect(self, selector: str, text: str = "", *, count: int | None = None) -> None:
        """Wait for visible elements that match a selector and contain a text: at least one, or `count`."""
        try:
            until(lambda: self._has(selector, text, count))
        except AssertionError as error:
            shown = self.run(f"{_script(selector, '')} return matching.map((element) => element.innerText);")
            raise AssertionError(
                f"{selector} {text!r}: shown are {shown}; errors: {self.errors()}"
            ) from error

    def _has(self, selector: str, text: str, count: int | None) -> bool:
        with suppress(PageIsChanging):
            found = self.count(selector, text)
            return found > 0 if count is None else found == count
        return False

    def expect_in_view(self, selector: str, text: str = "") -> None:
        """Wait until the first such element is in the viewport."""
        self.expect(selector, text)
        until(
            lambda: self.run(
                f"{_script(selector, text)} const {{ top, bottom }} = matching[0].getBoundingClientRect();"
                "return top < innerHeight && bottom > 0;"
            )
        )

    def click(self, selector: str, text: str = "") -> None:
        """Click in the middle of the first such element, once it exists and nothing covers it."""
        points: list[list[int]] = []

        def is_clickable() -> bool:
            point = self.run(
                f"""{_script(selector, text)}
                if (!matching.length) return null;
                matching[0].scrollIntoView({{ block: "center", behavior: "instant" }});
                const {{ left, top, width, height }} = matching[0].getBoundingClientRect();
                const point = [Math.round(left + width / 2), Math.round(top + height / 2)];
                const hit = document.elementFromPoint(...point);
                return hit && (matching[0].contains(hit) || hit.contains(matching[0])) ? point : null;"""
            )
            points.extend([point] if point else [])
            return bool(points)

        until(is_clickable)
        self.click_at(*points[0])

    def type(self, text: str) -> None:
        """Press the key of each character."""
        for character in text:
            self.press(character)

    def errors(self) -> list[str]:
        """Errors of all pages of this origin that the tab has shown."""
        return list(self.run(f"return {RECORDED_ERRORS};"))


def _script(selector: str, text: str) -> str:
    return _MATCHING.replace("{selector}", json.dumps(selector)).replace("{text}", json.dumps(text))
