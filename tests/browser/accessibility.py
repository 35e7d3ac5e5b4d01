"""Violations of accessibility that axe finds on a page."""

from collections.abc import Mapping
from typing import Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from tests.examples import long

# WCAG 2.2 to level AA, and best practices. axe has no tag that includes the earlier versions.
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# A line number is as high as its line, the exception "Inline" of WCAG 2.5.8. For a finger lines are higher
# (test_appearance.py).
_LINE_NUMBER = '<a href="#L'
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
# For pages that have the colours of the live page, which is checked in both themes each time.
in_each_theme = pytest.mark.parametrize("theme", ["light", long("dark")])
# The rules that depend on the theme. Contrast takes axe more time than all other rules together.
_COLOUR_RULES = ["color-contrast", "link-in-text-block"]
_COLOURS = {"runOnly": _COLOUR_RULES}
# Targets that are too small or too close for a finger. It takes axe as much time as all rules that remain.
TARGET_SIZE: dict[str, object] = {"runOnly": ["target-size"]}
_OTHER_RULES = {
    "runOnly": _RULES,
    "rules": {rule: {"enabled": False} for rule in [*_COLOUR_RULES, "target-size"]},
}
# Elements with text: the first of each look, that is of font, colours of text and background, and classes.
_ONE_OF_EACH_LOOK = """(within) => {
    const backgrounds = new Map();
    const behind = (element) => {
        if (!element) return "";
        if (!backgrounds.has(element)) {
            const { backgroundColor, backgroundImage, opacity, filter } = getComputedStyle(element);
            const own = [backgroundColor, backgroundImage, opacity, filter].join();
            backgrounds.set(element, `${behind(element.parentElement)}/${own}`);
        }
        return backgrounds.get(element);
    };
    const look = (element) => {
        const { color, fontSize, fontWeight, textShadow, textDecorationLine } = getComputedStyle(element);
        const text = [color, fontSize, fontWeight, textShadow, textDecorationLine];
        const isDisabled = element.closest(":disabled, [aria-disabled=true]") !== null;
        const kinds = [element, element.parentElement].map((at) => `${at?.tagName}.${at?.className}`);
        return [...text, behind(element), ...kinds, isDisabled].join("|");
    };
    const hasText = ({ childNodes }) =>
        [...childNodes].some(({ nodeType, data }) => nodeType === Node.TEXT_NODE && data.trim());
    const root = within ? document.querySelector(within) : document.body;
    const seen = new Set();
    return [root, ...root.querySelectorAll("*")].filter((element) => {
        if (!(hasText(element) || element.matches("input, select, textarea"))) return false;
        if (!element.checkVisibility({ visibilityProperty: true })) return false;
        return seen.size < seen.add(look(element)).size;
    });
}"""

# Pairs of a rule and the HTML of an element; the other results are ten times as long.
_VIOLATIONS = "({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => [id, html]))"


def violating_elements(
    page: Page, options: Mapping[str, object] | None = None, *, within: str | None = None
) -> list[str]:
    """The violations that axe finds on a page or in an element of it, without exceptions of a rule.

    Each is the rule and the element's HTML. `options` are those of `axe.run`.
    """
    return _violations(page, "(within) => within ?? document", options or {}, within)


def violations(page: Page, theme: Theme, *, within: str | None = None) -> list[str]:
    """The violations of the current page in a theme.

    Of elements that look alike, the colours of one are checked. The sizes of targets are checked in the dark
    theme only, whose tests are long.
    """
    coloured = _colour_violations(page, theme, _ONE_OF_EACH_LOOK, within)
    sizes = violating_elements(page, TARGET_SIZE, within=within) if theme == "dark" else []
    return coloured + violating_elements(page, _OTHER_RULES, within=within) + sizes


def violations_by_theme(page: Page, *, is_thorough: bool = False) -> dict[str, list[str]]:
    """The violations of the current page by theme; those that do not depend on colours are in the light one.

    Of elements that look alike, the colours of one are checked. If `is_thorough`, those of all are, and
    the sizes of targets.
    """
    coloured = "(within) => within ?? document" if is_thorough else _ONE_OF_EACH_LOOK
    found = {theme: _colour_violations(page, theme, coloured, None) for theme in THEMES}
    found["light"] += violating_elements(page, _OTHER_RULES)
    if is_thorough:
        found["light"] += violating_elements(page, TARGET_SIZE)
    return {theme: findings for theme, findings in found.items() if findings}


def _colour_violations(page: Page, theme: Theme, select: str, within: str | None) -> list[str]:
    page.emulate_media(color_scheme=theme)
    expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
    # Colours change in a transition, which ends early where an update replaces its element.
    page.evaluate("Promise.allSettled(document.getAnimations().map((fading) => fading.finished))")
    return _violations(page, select, _COLOURS, within)


def _violations(page: Page, select: str, options: Mapping[str, object], within: str | None) -> list[str]:
    """The violations in what the JavaScript function `select` returns for `within`."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    # Nobody reads details of passed checks, which take more time than the checks. Styles and media are loaded
    # again only for rules on orientation, which is an experiment of axe, and on audio, which no page has.
    all_options = {"resultTypes": ["violations"], "preload": False, **options}
    found = page.evaluate(
        f"async ([within, options]) => ({_VIOLATIONS})(await axe.run(({select})(within), options))",
        [within, all_options],
    )
    return [
        f"{rule}: {html}"
        for rule, html in found
        if not (rule == "target-size" and html.startswith(_LINE_NUMBER))
    ]
