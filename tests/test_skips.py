"""The report of skipped tests at the end of a run, and their failure in CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import skips

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = """
from tests import skips

@skips.needs("prometheus")
def test_with_a_program(): pass

def test_with_another(): skips.require("chromium-headless-shell")

def test_without(): pass
"""


def run_example(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run pytest on an example, on a machine on which no program is installed."""
    (folder / "test_example.py").write_text(EXAMPLE)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.skips", "--rootdir", str(folder), str(folder)],
        env={
            "PATH": "/nowhere",
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            **environment,
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_reports_what_was_not_tested_and_how_to_get_it(tmp_path: Path) -> None:
    done = run_example(tmp_path)
    assert done.returncode == 0, done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("NOT TESTED, 1 tests: ")] == [
        f"NOT TESTED, 1 tests: {what} is missing (on Debian: apt-get install {package})"
        for what, package in [
            ("browser tests: chromium-headless-shell", "chromium-headless-shell"),
            ("tests of the alert rules: promtool", "prometheus"),
        ]
    ]


def test_it_fails_in_ci_if_a_test_is_skipped(tmp_path: Path) -> None:
    done = run_example(tmp_path, CI="true")
    assert done.returncode == 1
    assert "1 failed, 1 passed, 1 error" in done.stdout
    assert (
        "skipped, which is not allowed with CI=true: browser tests: chromium-headless-shell is missing"
        in done.stdout
    )


def test_it_finds_an_installed_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "promtool"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert skips.require("prometheus") == str(program)
