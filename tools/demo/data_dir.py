"""Data directory of the demo, one per user and clone, below a directory that every user can enter.

It is not in the clone, which may belong to another user, or be out of reach of the unprivileged user that
PostgreSQL runs as for root. It is not in the home directory, which may be on a network file system,
unsuitable for a database.
"""

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BASE = Path("/var/tmp")  # noqa: S108 - ownership of the directory in it is checked
_TRAVERSABLE = 0o711
_SECRET_BYTES = 18


class FolderError(Exception):
    """Raised when a directory is unsuitable; the message says why."""


def path_for(clone: Path) -> Path:
    """Path of this user's data directory for a clone."""
    digest = hashlib.sha256(os.fsencode(clone.resolve())).hexdigest()[:8]
    return BASE / f"dqmsquare-demo-{os.getuid()}-{digest}"


def create(folder: Path) -> None:
    """Create a directory that others can traverse but not read, unless this user has it already.

    Raises FolderError for anything that another user could have put there.
    """
    try:
        folder.mkdir(mode=_TRAVERSABLE)
        folder.chmod(_TRAVERSABLE)
    except FileExistsError:
        pass
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise FolderError(f"{folder} is not a directory; remove it")
    if status.st_uid != os.getuid():
        raise FolderError(f"{folder} belongs to another user; remove it")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise FolderError(f"{folder} is writable by others; remove it")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create a directory and lock it; raises FolderError if another program holds the lock."""
    create(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderError(f"{folder} is in use: this demo is already running") from None
        yield
    finally:
        os.close(descriptor)


def write(path: Path, text: str) -> None:
    """Replace a file by one that only its owner can read."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def persistent_secret(path: Path) -> str:
    """Secret in a file that only its owner can read; generated at first use."""
    if not path.exists():
        write(path, secrets.token_urlsafe(_SECRET_BYTES))
    return path.read_text()


def check_traversable(folder: Path, user: str) -> None:
    """Raise FolderError if other users cannot reach a directory, so that `user` could not use files in it."""
    for part in (folder, *folder.resolve().parents):
        if not part.stat().st_mode & stat.S_IXOTH:
            raise FolderError(f"{folder} is out of reach of the user {user}: {part} is closed to others")
