"""Data directory of the demo."""

import os
import stat
from pathlib import Path

import pytest

from tools.demo import clean, data_dir
from tools.demo.data_dir import FolderError


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Parent of the data directories, for this test."""
    monkeypatch.setattr(data_dir, "BASE", tmp_path)
    return tmp_path


@pytest.fixture
def folder(base: Path) -> Path:
    """Data directory of this clone."""
    own = data_dir.path_for(Path(clean.__file__).parents[2])
    assert own.parent == base
    data_dir.create(own)
    return own


def test_each_clone_and_user_has_its_own(base: Path) -> None:
    one, other = (data_dir.path_for(base / name) for name in ("one", "other"))
    assert one != other
    assert one.parent == base
    assert f"-{os.getuid()}-" in one.name


def test_others_can_traverse_but_not_read_it(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o711


def test_only_its_user_can_read_a_secret_in_it(folder: Path) -> None:
    secret = data_dir.persistent_secret(folder / "secret")
    assert data_dir.persistent_secret(folder / "secret") == secret
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600


def test_it_rejects_a_symbolic_link(base: Path) -> None:
    link = base / "link"
    link.symlink_to(base)
    with pytest.raises(FolderError, match="is not a directory"):
        data_dir.create(link)


def test_it_is_locked_by_one_demo_at_a_time(folder: Path) -> None:
    with (
        data_dir.locked(folder),
        pytest.raises(FolderError, match="is in use"),
        data_dir.locked(folder),
    ):
        pass
    with data_dir.locked(folder):
        pass


def test_clean_removes_it_unless_its_demo_is_running(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with data_dir.locked(folder):
        assert clean.main() == 1
        assert "is in use" in capsys.readouterr().err
    assert clean.main() == 0
    assert not folder.exists()
    assert clean.main() == 0
