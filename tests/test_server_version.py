"""Version and commit: of a repository, of an image, and without either."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import version
from tests.served import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the program's version but no repository, inside another project's repository."""
    git("init", "--quiet", folder=tmp_path)
    git("commit", "--quiet", "--allow-empty", "--message=theirs", folder=tmp_path)
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "runtime").mkdir()
    shutil.copy(ROOT / "runtime" / "version.py", clone / "runtime")
    return clone


def git(*arguments: str, folder: Path) -> None:
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


def version_in(clone: Path) -> str:
    program = "from runtime import version; print(version.current())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=clone, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_it_ignores_the_commit_of_another_project(clone: Path) -> None:
    assert version_in(clone) == f"{version.NUMBER} (unknown)"


def test_it_reads_the_commit_from_the_file_of_a_build(clone: Path) -> None:
    (clone / "COMMIT").write_text("0123456789ab\n")
    assert version_in(clone) == f"{version.NUMBER} (0123456789ab)"


def test_it_reports_uncommitted_changes(clone: Path) -> None:
    git("init", "--quiet", folder=clone)
    git("add", "runtime/version.py", folder=clone)
    git("commit", "--quiet", "--message=ours", folder=clone)
    (clone / "runtime" / "version.py").write_text((ROOT / "runtime" / "version.py").read_text() + "\n")
    assert version_in(clone).endswith("-dirty)")
