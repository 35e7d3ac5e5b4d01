"""Where the version and the commit come from, in a repository, in an image, and where neither tells."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import version
from tests.served import ROOT


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder with the program's version in it and no history, below another project's repository."""
    git("init", "--quiet", folder=tmp_path)
    git("commit", "--quiet", "--allow-empty", "--message=theirs", folder=tmp_path)
    house = tmp_path / "house"
    house.mkdir()
    (house / "runtime").mkdir()
    shutil.copy(ROOT / "runtime" / "version.py", house / "runtime")
    return house


def git(*arguments: str, folder: Path) -> None:
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


def told_in(house: Path) -> str:
    program = "from runtime import version; print(version.current())"
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=house, capture_output=True, text=True, check=True
    )
    return told.stdout.strip()


def test_it_tells_no_other_projects_commit(house: Path) -> None:
    assert told_in(house) == f"{version.NUMBER} (unknown)"


def test_it_tells_the_commit_that_a_build_left(house: Path) -> None:
    (house / "COMMIT").write_text("0123456789ab\n")
    assert told_in(house) == f"{version.NUMBER} (0123456789ab)"


def test_it_tells_when_files_were_changed_since_the_commit(house: Path) -> None:
    git("init", "--quiet", folder=house)
    git("add", "runtime/version.py", folder=house)
    git("commit", "--quiet", "--message=ours", folder=house)
    (house / "runtime" / "version.py").write_text((ROOT / "runtime" / "version.py").read_text() + "\n")
    assert told_in(house).endswith("-dirty)")
