"""The folder that a server's processes count into: theirs for as long as one of them lives.

That is told by a lock on it, which the system drops with the last process that has it. What a server that was
killed left behind is nobody's by that, and the next one clears it away: it would pile up with every kill.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "server-metrics-"
# Until it has its lock it goes by another name, lest somebody else's start takes it for one that was left.
_UNHELD = "new-"


def make(parent: Path) -> Path:
    """A new folder below `parent` for this process and those that it forks; what was left there goes."""
    parent.mkdir(parents=True, exist_ok=True)
    for found in parent.glob(f"{_PREFIX}*"):
        _remove_if_left(found)
    made = Path(tempfile.mkdtemp(prefix=f"{_UNHELD}{_PREFIX}", dir=parent))
    # Never closed: the lock is to go with the processes.
    fcntl.flock(_open(made), fcntl.LOCK_SH)
    return made.rename(made.with_name(made.name.removeprefix(_UNHELD)))


def _remove_if_left(folder: Path) -> None:
    # Another user's, or gone by now.
    with suppress(OSError):
        descriptor = _open(folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
