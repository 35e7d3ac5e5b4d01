"""CPU and memory of processes, read from Linux's /proc."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    cpu_s: float
    rss_mb: float


def process_tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        if (stat := _stat(int(path.name))) is not None:
            parents[int(path.name)] = stat.parent
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_s(pid: int) -> float:
    """CPU time of a process and its descendants in seconds, exited ones that were waited for included."""
    return sum(stat.cpu_s for one in process_tree(pid) if (stat := _stat(one)) is not None)


def rss_mb(pid: int) -> float:
    """Resident memory of a process and its descendants; shared pages count once for each."""
    return sum(stat.rss_mb for one in process_tree(pid) if (stat := _stat(one)) is not None)


def pss_mb(pid: int) -> float:
    """Memory of a process, each shared page divided by the number of processes that have it."""
    return _kb_mb(Path(f"/proc/{pid}/smaps_rollup"), r"^Pss:\s+(\d+) kB")


def peak_mb(pid: int) -> float:
    """The peak of a process's resident memory; 0 once it has exited."""
    return _kb_mb(Path(f"/proc/{pid}/status"), r"^VmHWM:\s+(\d+) kB")


def _kb_mb(path: Path, pattern: str) -> float:
    """A figure of a process in MB; 0 once it has exited."""
    try:
        found = re.search(pattern, path.read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name, in parentheses, can contain anything.
    fields = text.rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])
    return _Stat(parent=int(fields[1]), cpu_s=ticks / _TICKS_PER_S, rss_mb=int(fields[21]) * _PAGE_MB)
