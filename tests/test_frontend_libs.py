"""Front-end libraries: all that pages use is there, and lock files name no registry."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tools import frontend_libs

ROOT = Path(frontend_libs.__file__).parent.parent
VENDOR = ROOT / "static" / "vendor"
SVG = "{http://www.w3.org/2000/svg}"


def read_all(folder: str, suffix: str) -> str:
    return "".join(path.read_text() for path in sorted((ROOT / folder).rglob(f"*{suffix}")))


TEMPLATES = read_all("templates", ".html") + read_all("web/pages", "markup.py")
SCRIPTS = read_all("static/js", ".js")
SOURCES = TEMPLATES + SCRIPTS + read_all("web", ".py")
# Names before the filter: `"search"|icon`, `("arrow-down" if … else "arrow-up")|icon`, but not strings in
# brackets or comparisons.
ICONS_USED = {
    name
    for names in re.findall(r'("[a-z-]+"|\([^()]*\))\|icon\b', SOURCES)
    for name in re.findall(r'(?<!\[)(?<!== )"([a-z-]+)"', names)
}


def test_it_has_every_file_that_pages_use() -> None:
    used = set(re.findall(r"vendor/([A-Za-z0-9._-]+)", SOURCES))
    assert used
    assert used <= {path.name for path in VENDOR.iterdir()}


def test_it_has_every_icon_that_pages_use_and_no_others() -> None:
    assert ICONS_USED
    assert set(frontend_libs.ICONS) >= ICONS_USED
    # Some names are in tables of templates or scripts instead of calls.
    assert [name for name in frontend_libs.ICONS if f'"{name}"' not in SOURCES] == []


def test_its_style_sheet_has_rules_for_the_classes_of_bootstrap_that_pages_use() -> None:
    style_sheet = (VENDOR / "bootstrap.min.css").read_text()
    in_templates = {name for names in re.findall(r'class="([^"]*)"', SOURCES) for name in names.split()}
    assert [name for name in frontend_libs.BOOTSTRAP_CLASSES if name not in in_templates] == []
    assert [name for name in frontend_libs.BOOTSTRAP_CLASSES if f".{name}" not in style_sheet] == []
    assert ".modal" not in style_sheet
    assert "Licensed under MIT" in style_sheet


def classes_used() -> set[str]:
    """Classes in templates and scripts, without those that are put together, such as `state-{{ state }}`."""
    html = re.sub(r"\{\{.*?\}\}", "{}", re.sub(r"\{[%#].*?[%#]\}", " ", TEMPLATES, flags=re.DOTALL))
    in_templates = re.findall(r'class="([^"]*)"', html)
    in_scripts = re.findall(r'(?:classList\.\w+\(|className = )["`]([^"`]*)', SCRIPTS)
    return {
        name for names in in_templates + in_scripts for name in names.split() if not set(name) & set("{}$")
    }


def test_pages_use_no_class_that_its_style_sheet_and_theirs_lack() -> None:
    """A class of Bootstrap that the list lacks has no rule. A class that only scripts read needs none."""
    selectors = "".join(re.findall(r'"[^"]*"|`[^`]*`', SCRIPTS))
    style_sheets = read_all("static/css", ".css") + read_all("static/vendor", ".css")
    known = set(re.findall(r"\.([A-Za-z][\w-]*)", style_sheets + selectors))
    assert "table-responsive" in classes_used()
    assert sorted(classes_used() - known) == []
    # Also where the project has a rule for it, or a template chooses it in an expression.
    components = "|".join({name.partition("-")[0] for name in frontend_libs.BOOTSTRAP_CLASSES})
    of_bootstrap = set(re.findall(rf"(?<![\w-])(?:{components})-[\w-]+", TEMPLATES + SCRIPTS))
    assert sorted(of_bootstrap - set(frontend_libs.BOOTSTRAP_CLASSES)) == []


def test_it_leaves_out_selectors_and_rules_of_unused_classes() -> None:
    css = (
        '@charset "UTF-8";/*! license */:root{--a:1}.modal,.table{color:red}.card .btn{color:red}'
        "@media print{.table:not(.card)>td{top:0}.card{top:0}}@media screen{.card{top:0}}"
        "@keyframes card{to{top:0}}"
        "[data-bs-theme=dark] .btn,.btn.active{color:red}"
    )
    assert frontend_libs.without_unused_rules(css) == (
        '@charset "UTF-8";/*! license */:root{--a:1}.table{color:red}'
        "@media print{.table:not(.card)>td{top:0}}[data-bs-theme=dark] .btn{color:red}"
    )


def test_its_icons_are_symbols_of_one_file() -> None:
    sprite = ElementTree.parse(VENDOR / "icons.svg").getroot()
    assert [symbol.get("id") for symbol in sprite.iter(f"{SVG}symbol")] == list(frontend_libs.ICONS)
    assert all(len(symbol) for symbol in sprite.iter(f"{SVG}symbol"))


@pytest.mark.parametrize("folder", [ROOT, ROOT / "tools" / "screenshots"], ids=lambda folder: folder.name)
def test_its_lock_files_have_hashes_and_no_addresses(folder: Path) -> None:
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]
    libraries = {name: package for name, package in packages.items() if name}
    assert all(package["integrity"].startswith("sha512-") for package in libraries.values())
    assert not any("resolved" in package for package in libraries.values())
