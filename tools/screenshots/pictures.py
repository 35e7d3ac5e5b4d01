"""Screenshots of every page in both themes, for laptop and phone: `python -m tools.screenshots.pictures`.

They are written to `docs/pictures/`, for README.
"""

import argparse
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tools.screenshots import chromium
from tools.screenshots.running_demo import ROOT, RunningDemo, running_demo

_FOLDER = ROOT / "docs" / "pictures"
_LAPTOP: ViewportSize = {"width": 1600, "height": 1000}
_PHONE: ViewportSize = {"width": 390, "height": 844}
_COMMAND_TIMEOUT_MS = 60_000
# By lumisection 30 some jobs have failed; a lumisection of the demo takes about 3 s.
_LATE_LS = re.compile(r"[3-9]\d|\d{3}")
_LATE_LS_TIMEOUT_MS = 400_000
_THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@dataclass(frozen=True)
class Shot:
    """A picture: its page, and the actions on the page before it is taken."""

    name: str
    path: str
    before: Callable[[Page], None] = lambda _page: None
    is_for_phones: bool = False


def _open_first_job(page: Page) -> None:
    # A run that begins meanwhile would replace the row.
    page.get_by_role("switch", name="follow newest run").click()
    page.locator("tbody:visible a.expander").first.click()
    expect(page.locator(".expanded canvas").first).to_be_visible()


def _go_to_job(page: Page) -> None:
    href = page.locator("a.log").first.get_attribute("href") or ""
    page.goto(urljoin(page.url, href.partition("#")[0]))
    expect(page.locator("#job canvas").first).to_be_visible()


def _go_to_crash_group(page: Page) -> None:
    page.locator(".crash-title a").first.click()
    expect(page.locator("#issue")).to_be_visible()


def _point_at_cell(page: Page) -> None:
    page.locator(".cell.state-crashed").first.hover()
    expect(page.locator("#cell-details")).to_be_visible()


def _open_help(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()


def _ask_for_clients(page: Page) -> None:
    # The first machine is the builder unit, on which no client runs.
    page.get_by_role("button", name="Clients").nth(1).click()
    expect(page.locator(".result").first).to_be_visible(timeout=_COMMAND_TIMEOUT_MS)


SHOTS = (
    Shot("live", "/", is_for_phones=True),
    Shot("live-playback", "/?db=playback"),
    Shot("live-job", "/", _open_first_job, is_for_phones=True),
    Shot("live-help", "/", _open_help, is_for_phones=True),
    Shot("live-nothing-passes", "/?q=nothing"),
    Shot("live-unknown-run", "/?run=7"),
    Shot("job", "/", _go_to_job, is_for_phones=True),
    Shot("timeline", "/timeline/", is_for_phones=True),
    Shot("timeline-cell", "/timeline/", _point_at_cell),
    Shot("timeline-nothing", "/timeline/?from=1&to=2"),
    Shot("statistics", "/statistics/", is_for_phones=True),
    Shot("cluster", "/cluster/", is_for_phones=True),
    Shot("crashes", "/crashes/", is_for_phones=True),
    Shot("crash-group", "/crashes/", _go_to_crash_group, is_for_phones=True),
    Shot("log-search", "/crashes/search?q=fatal", is_for_phones=True),
    Shot("wall", "/?wall=1"),
    Shot("shift-report", "/report/shift", is_for_phones=True),
    Shot("playback-report", "/report/playback", is_for_phones=True),
    Shot("efficiency-report", "/report/efficiency?group=release", is_for_phones=True),
    Shot("guide", "/help/shifter", is_for_phones=True),
    Shot("not-found", "/nowhere"),
)
PUBLIC_SHOTS = (Shot("sign-in", "/cr/login/", is_for_phones=True),)
EXPERT_SHOTS = (
    Shot("control-room", "/cr/", _ask_for_clients, is_for_phones=True),
    Shot("audit", "/cr/audit/", is_for_phones=True),
    Shot("mutes", "/cr/mutes/", is_for_phones=True),
)


def take_all(browser: Browser, demo: RunningDemo, folder: Path) -> None:
    """Take all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    _wait_for_jobs(browser, demo)
    for theme in _THEMES:
        for screen, name in ((_LAPTOP, theme), (_PHONE, f"phone-{theme}")):
            _take(browser, demo, folder, theme, screen, name)


def _wait_for_jobs(browser: Browser, demo: RunningDemo) -> None:
    page = browser.new_page()
    page.goto(f"{demo.url}/")
    expect(page.locator(".newest-ls strong")).to_have_text(_LATE_LS, timeout=_LATE_LS_TIMEOUT_MS)
    page.close()


def _take(
    browser: Browser,
    demo: RunningDemo,
    folder: Path,
    theme: Literal["light", "dark"],
    screen: ViewportSize,
    name: str,
) -> None:
    page = browser.new_page(viewport=screen, color_scheme=theme)

    def take(shots: tuple[Shot, ...]) -> None:
        for shot in shots:
            if screen is _LAPTOP or shot.is_for_phones:
                page.goto(f"{demo.url}{shot.path}")
                page.wait_for_load_state("networkidle")
                shot.before(page)
                page.screenshot(path=folder / f"{shot.name}-{name}.png", animations="disabled")

    take((*SHOTS, *PUBLIC_SHOTS))
    page.get_by_label("Name").fill(demo.user)
    page.get_by_label("Password").fill(demo.password)
    page.get_by_role("button", name="Sign in").click()
    take(EXPERT_SHOTS)
    page.close()


def main() -> int:
    """Take the pictures; exit status 1 without Chromium."""
    parser = argparse.ArgumentParser(
        prog="tools.screenshots.pictures", description="Take screenshots of all pages."
    )
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="where to write the pictures")
    parser.add_argument(
        "--demo",
        nargs=3,
        metavar=("URL", "USER", "PASSWORD"),
        help="a running demo and its login (default: start one)",
    )
    given = parser.parse_args()
    executable = chromium.executable()
    if executable is None:
        sys.stderr.write(f"Chromium is missing: apt-get install {chromium.PACKAGE}\n")
        return 1
    made = running_demo() if given.demo is None else nullcontext(RunningDemo(*given.demo))
    with made as demo, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(chromium.OPTIONS))
        take_all(browser, demo, given.folder)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
