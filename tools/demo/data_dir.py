"""A folder for one user and one clone, in a place that every user may enter.

Not in the clone, which may be another user's or lie where root's PostgreSQL, which can't be root's own,
isn't let in; not in a home, which may be on a network file system that no database should be on.
"""

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACE = Path("/var/tmp")  # noqa: S108 - the folder in it is checked to be this user's own
_ENTERED_BY_ALL = 0o711
_SECRET_BYTES = 18


class FolderError(Exception):
    """A folder is not fit for what it is needed for; the message says why."""


def of_clone(clone: Path) -> Path:
    """The folder of this user's demo from this clone."""
    mark = hashlib.sha256(os.fsencode(clone.resolve())).hexdigest()[:8]
    return PLACE / f"dqmsquare-demo-{os.getuid()}-{mark}"


def claim(folder: Path) -> None:
    """Makes a folder that others may pass through and not read; raises FolderError if it is another's."""
    try:
        folder.mkdir(mode=_ENTERED_BY_ALL)
        folder.chmod(_ENTERED_BY_ALL)
    except FileExistsError:
        pass
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise FolderError(f"{folder} is no folder; remove it")
    if status.st_uid != os.getuid():
        raise FolderError(f"{folder} belongs to another user; remove it")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise FolderError(f"{folder} can be written to by others; remove it")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Claims a folder for one program at a time; raises FolderError if another holds it."""
    claim(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def write(path: Path, text: str) -> None:
    """Writes a file anew that its owner alone can read."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def kept_secret(path: Path) -> str:
    """The secret in a file that its owner alone can read, made at random if there is none."""
    if not path.exists():
        write(path, secrets.token_urlsafe(_SECRET_BYTES))
    return path.read_text()


def refuse_closed(folder: Path, user: str) -> None:
    """Raises FolderError if a folder can't be reached by everyone, so that `user` can't have files in it."""
    for part in (folder, *folder.resolve().parents):
        if not part.stat().st_mode & stat.S_IXOTH:
            raise FolderError(f"{folder} can't be reached by the user {user}: {part} is closed to others")


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FolderError(f"{folder} is in use: this demo runs already") from None
