"""Processes of this machine, as proc(5) shows them."""

import re
import signal
from pathlib import Path

_PROC = Path("/proc")


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    # The name before the state is in parentheses and may contain anything.
    return _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()[:1] not in ([], ["Z"])


def children_of(pid: int) -> list[int]:
    """Ids of a process's children; none if it does not exist."""
    threads = _entries(_PROC / str(pid) / "task")
    return [int(child) for thread in threads for child in _read(thread / "children").split()]


def threads_that_take(number: signal.Signals, pid: int) -> list[int]:
    """Ids of a process's threads that do not block a signal, or wait for it."""
    blocked = {
        thread.name: re.search(r"^SigBlk:\s+(\w+)$", _read(thread / "status"), re.MULTILINE)
        for thread in _entries(_PROC / str(pid) / "task")
    }
    return [
        int(thread) for thread, mask in blocked.items() if mask and not int(mask[1], 16) & 1 << number - 1
    ]


def pids() -> list[int]:
    """Ids of all processes."""
    return [int(entry.name) for entry in _PROC.glob("[0-9]*")]


def working_directory(pid: int) -> str:
    """Working directory of a process; empty if it is unknown."""
    return _target(_PROC / str(pid) / "cwd")


def open_files(pid: int, folder: Path) -> list[str]:
    """The files in a folder that a process has open; behind the path of a deleted one is " (deleted)".

    A file that is closed meanwhile may be left out.
    """
    targets = map(_target, (_PROC / str(pid) / "fd").iterdir())
    return [target for target in targets if target.startswith(f"{folder.resolve()}/")]


def command_line(pid: int) -> str:
    """Command line of a process, its words separated by blanks; empty if it does not exist."""
    return _read(_PROC / str(pid) / "cmdline").replace("\0", " ").strip()


def with_environment(part: str) -> list[int]:
    """Ids of the processes whose environment contains a text, such as the folder of a test."""
    return [pid for pid in pids() if part in _read(_PROC / str(pid) / "environ")]


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder below /proc; none if its process ends meanwhile."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return []


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="surrogateescape")
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return ""


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return ""
