"""What is put in place before anything else runs, and the recipes that call it."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import install

ROOT = Path(install.__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()


def test_a_python_that_is_too_old_can_read_it() -> None:
    source = (ROOT / "tools" / "install.py").read_text()
    ast.parse(source, feature_version=(3, 6))


def test_it_names_the_python_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "OLDEST", (99, 0))
    monkeypatch.setenv("PYTHON", sys.executable)
    with pytest.raises(install.InstallError, match=r"Python 99\.0 or newer is needed"):
        install.suitable_python()


def test_it_takes_the_python_that_is_named_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON", sys.executable)
    assert install.candidates() == [str(Path(sys.executable).resolve())]


def test_it_passes_over_a_python_that_does_not_run(tmp_path: Path) -> None:
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert install.version_of(str(broken)) == install.version_of(str(tmp_path / "none")) == (0,)


def test_it_knows_a_python_that_others_can_not_run(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    python = closed / "python3"
    python.touch(mode=0o755)
    assert not install.is_open_to_all(str(python))


def test_make_without_a_word_lists_the_targets() -> None:
    done = subprocess.run(
        ["make", "--silent"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    explained = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE)
    assert [line.split()[1] for line in done.stdout.splitlines()] == explained


def test_the_readme_names_targets_that_there_are() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    assert named
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
