"""The folder in which the demo keeps what it makes."""

import os
import stat
from pathlib import Path

import pytest

from tools.demo import clean, data_dir
from tools.demo.data_dir import FolderError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where demos have their folders, for this test."""
    monkeypatch.setattr(data_dir, "PLACE", tmp_path)
    return tmp_path


@pytest.fixture
def folder(place: Path) -> Path:
    """The folder of this clone's demo, made."""
    own = data_dir.of_clone(Path(clean.__file__).parents[2])
    assert own.parent == place
    data_dir.claim(own)
    return own


def test_it_is_one_for_each_clone_and_user(place: Path) -> None:
    one, other = (data_dir.of_clone(place / name) for name in ("one", "other"))
    assert one != other
    assert one.parent == place
    assert f"-{os.getuid()}-" in one.name


def test_it_may_be_passed_through_and_not_read_by_others(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o711


def test_it_keeps_a_secret_to_its_user(folder: Path) -> None:
    secret = data_dir.kept_secret(folder / "secret")
    assert data_dir.kept_secret(folder / "secret") == secret
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600


def test_it_is_no_link_that_somebody_else_has_laid(place: Path) -> None:
    link = place / "link"
    link.symlink_to(place)
    with pytest.raises(FolderError, match="is no folder"):
        data_dir.claim(link)


def test_it_is_held_by_one_demo_at_a_time(folder: Path) -> None:
    with (
        data_dir.held(folder),
        pytest.raises(FolderError, match="is in use"),
        data_dir.held(folder),
    ):
        pass
    with data_dir.held(folder):
        pass


def test_it_is_forgotten_unless_its_demo_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with data_dir.held(folder):
        assert clean.main() == 1
        assert "is in use" in capsys.readouterr().err
    assert clean.main() == 0
    assert not folder.exists()
    assert clean.main() == 0
