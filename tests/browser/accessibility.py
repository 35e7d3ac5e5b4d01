"""Violations of accessibility that axe finds on a page."""

from collections.abc import Mapping
from typing import Literal

from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

# WCAG 2.2 to level AA, and best practices. axe has no tag that includes the earlier versions.
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# A line number is as high as its line, the exception "Inline" of WCAG 2.5.8. For a finger lines are higher
# (test_appearance.py).
_LINE_NUMBER = '<a href="#L'
# Options of axe: themes differ only in colours.
THEMES: dict[Literal["light", "dark"], dict[str, object]] = {
    "light": {"runOnly": _RULES},
    "dark": {"runOnly": ["color-contrast", "link-in-text-block"]},
}
# Targets that are too small or too close for a finger, which axe does not look for by itself.
TARGET_SIZE: dict[str, object] = {"runOnly": ["target-size"]}


def violating_elements(
    page: Page, options: Mapping[str, object] | None = None, *, within: str | None = None
) -> list[str]:
    """The violations that axe finds on a page or in an element of it, without exceptions of a rule.

    Each is the rule and the element's HTML. `options` are those of `axe.run`.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    # Details of passed checks, which nobody reads, take more time than the checks.
    all_options = {"resultTypes": ["violations"], **(options or {})}
    found = page.evaluate(
        "([within, options]) => axe.run(within ?? document, options)", [within, all_options]
    )
    return [
        f"{rule['id']}: {node['html']}"
        for rule in found["violations"]
        for node in rule["nodes"]
        if not (rule["id"] == "target-size" and node["html"].startswith(_LINE_NUMBER))
    ]


def violations_by_theme(page: Page, *, within: str | None = None) -> dict[str, list[str]]:
    """The violations of the current page: all in the light theme, those of colours in the dark one."""
    found = {}
    for theme, options in THEMES.items():
        page.emulate_media(color_scheme=theme)
        expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
        # Colours change in a transition, which ends early where an update replaces its element.
        page.evaluate("Promise.allSettled(document.getAnimations().map((fading) => fading.finished))")
        found[theme] = violating_elements(page, options, within=within)
    return {theme: findings for theme, findings in found.items() if findings}
