"""A root file system with glibc and a temporary folder in it, and nothing else: a machine without Python."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.waiting import TIMEOUT_S

# What the GNU C library comes in; old programs name some of its parts that have since moved into libc.
_LIBRARIES = ("c", "dl", "m", "nss_dns", "nss_files", "pthread", "resolv", "rt", "util")
_MARK = "BARE_ROOT"


class BareRoot:
    """A bare root in `folder` with one executable; `/tmp` within it is `tmp` outside.

    What is written to its `/dev/null` is kept, for only root could make the device.
    """

    def __init__(self, folder: Path, executable: Path) -> None:
        self.folder = folder
        self.tmp = folder / "tmp"
        self.tmp.mkdir(parents=True)
        (folder / "dev").mkdir()
        (folder / "dev/null").touch()
        self._name = executable.name
        self._numbers = count()
        shutil.copy(executable, folder)
        for library in _glibc():
            (folder / library.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, folder / library.relative_to("/"))

    @contextmanager
    def running(self, environment: Mapping[str, str], *words: str) -> Iterator["subprocess.Popen[str]"]:
        """The executable at work within the root; killed at the end with all that it started."""
        mark = f"{self.folder}#{next(self._numbers)}"
        process = subprocess.Popen(
            [*_enter(), str(self.folder), f"/{self._name}", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**environment, _MARK: mark, "HOME": "/tmp"},
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            for pid in _marked(f"{mark}\0"):
                os.kill(pid, signal.SIGKILL)
            process.communicate()

    def run(self, environment: Mapping[str, str], *words: str) -> tuple[int, str]:
        """Runs the executable to its end: its exit status and what it said."""
        with self.running(environment, *words) as process:
            said, _ = process.communicate(timeout=TIMEOUT_S)
            return process.returncode, said

    def processes(self) -> list[int]:
        """The processes that run within the root."""
        return _marked(f"{self.folder}#")


def _marked(beginning: str) -> list[int]:
    mark = os.fsencode(f"{_MARK}={beginning}")
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and mark in _environment_of(entry)
    ]


def _enter() -> list[str]:
    """How a process gets another root: root's way, or an ordinary user's by a namespace of his own."""
    chroot, unshare = shutil.which("chroot"), shutil.which("unshare")
    if chroot is None or unshare is None:
        pytest.skip("there is no chroot here")
    if os.getuid() == 0:
        return [chroot]
    way = [unshare, "--user", "--map-root-user", chroot]
    if subprocess.run([*way, "/", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("there is no chroot for this user")
    return way


def _glibc() -> list[Path]:
    """The files of this machine's C library, the loader of programs first."""
    maps = Path("/proc/self/maps").read_text()
    [libc] = {line.split()[-1] for line in maps.splitlines() if line.endswith("/libc.so.6")}
    folder = Path(libc).parent
    found = [path for name in _LIBRARIES for path in folder.glob(f"lib{name}.so.[0-9]")]
    return [*Path("/lib64").glob("ld-linux-*.so.*"), *Path("/lib").glob("ld-linux-*.so.*"), *found]


def _environment_of(entry: Path) -> bytes:
    try:
        return (entry / "environ").read_bytes()
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return b""
