"""The folder in which the demo keeps what it makes."""

import os
import stat
from pathlib import Path

import pytest

from demo import forget, private_folder
from demo.private_folder import FolderError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where demos have their folders, for this test."""
    monkeypatch.setattr(private_folder, "PLACE", tmp_path)
    return tmp_path


@pytest.fixture
def folder(place: Path) -> Path:
    """The folder of this clone's demo, made."""
    own = private_folder.of_clone(Path(forget.__file__).parent.parent)
    assert own.parent == place
    private_folder.claim(own)
    return own


def test_it_is_one_for_each_clone_and_user(place: Path) -> None:
    one, other = (private_folder.of_clone(place / name) for name in ("one", "other"))
    assert one != other
    assert one.parent == place
    assert f"-{os.getuid()}-" in one.name


def test_it_may_be_passed_through_and_not_read_by_others(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o711


def test_it_keeps_a_secret_to_its_user(folder: Path) -> None:
    secret = private_folder.kept_secret(folder / "secret")
    assert private_folder.kept_secret(folder / "secret") == secret
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600


def test_it_is_no_link_that_somebody_else_has_laid(place: Path) -> None:
    link = place / "link"
    link.symlink_to(place)
    with pytest.raises(FolderError, match="is no folder"):
        private_folder.claim(link)


def test_it_is_held_by_one_demo_at_a_time(folder: Path) -> None:
    with (
        private_folder.held(folder),
        pytest.raises(FolderError, match="is in use"),
        private_folder.held(folder),
    ):
        pass
    with private_folder.held(folder):
        pass


def test_it_is_forgotten_unless_its_demo_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with private_folder.held(folder):
        assert forget.main() == 1
        assert "is in use" in capsys.readouterr().err
    assert forget.main() == 0
    assert not folder.exists()
    assert forget.main() == 0
