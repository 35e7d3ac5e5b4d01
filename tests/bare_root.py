"""Root directory with only glibc and a temporary directory: a machine without Python."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.processes import with_environment
from tests.waiting import TIMEOUT_S

# Libraries of glibc; some are stubs for old programs.
_LIBRARIES = ("c", "dl", "m", "nss_dns", "nss_files", "pthread", "resolv", "rt", "util")
# Variable that marks processes of a root directory.
_MARK = "BARE_ROOT"


class BareRoot:
    """Root directory in `folder` with one executable; `tmp` is the path of its `/tmp`.

    `/dev/null` is a regular file, because only root can create the device.
    """

    def __init__(self, folder: Path, executable: Path) -> None:
        self.folder = folder
        self.tmp = folder / "tmp"
        self.tmp.mkdir(parents=True)
        (folder / "dev").mkdir()
        (folder / "dev/null").touch()
        self._name = executable.name
        self._numbers = count()
        self._outputs: dict[int, Path] = {}
        shutil.copy(executable, folder)
        for library in _glibc():
            (folder / library.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, folder / library.relative_to("/"))

    @contextmanager
    def running(self, environment: Mapping[str, str], *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        """The running executable; it is killed at the end together with all its children."""
        number = next(self._numbers)
        mark = f"{self.folder}#{number}"
        # Not a pipe: the program would wait for a reader once it is full.
        output = self.folder.with_name(f"{self.folder.name}-output-{number}")
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*_enter(), str(self.folder), f"/{self._name}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**environment, _MARK: mark, "HOME": "/tmp"},
            )
        self._outputs[process.pid] = output
        try:
            yield process
        finally:
            process.kill()
            for pid in with_environment(f"{_MARK}={mark}\0"):
                os.kill(pid, signal.SIGKILL)
            process.wait()

    def output(self, process: "subprocess.Popen[bytes]") -> str:
        """Output of a running executable so far."""
        return self._outputs[process.pid].read_text()

    def run(self, environment: Mapping[str, str], *arguments: str) -> tuple[int, str]:
        """Exit status and output of the executable."""
        with self.running(environment, *arguments) as process:
            return process.wait(timeout=TIMEOUT_S), self.output(process)

    def processes(self) -> list[int]:
        """Ids of the processes in the root directory."""
        return with_environment(f"{_MARK}={self.folder}#")


def _enter() -> list[str]:
    """Command that changes the root directory; for ordinary users it needs a user namespace."""
    chroot, unshare = shutil.which("chroot"), shutil.which("unshare")
    if chroot is None or unshare is None:
        pytest.skip("the executable in a bare root directory: chroot or unshare is missing")
    if os.getuid() == 0:
        return [chroot]
    command = [unshare, "--user", "--map-root-user", chroot]
    if subprocess.run([*command, "/", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the executable in a bare root directory: run the tests as root")
    return command


def _glibc() -> list[Path]:
    """Files of this machine's glibc, the dynamic loader first."""
    maps = Path("/proc/self/maps").read_text()
    [libc] = {line.split()[-1] for line in maps.splitlines() if line.endswith("/libc.so.6")}
    folder = Path(libc).parent
    found = [path for name in _LIBRARIES for path in folder.glob(f"lib{name}.so.[0-9]")]
    return [*Path("/lib64").glob("ld-linux-*.so.*"), *Path("/lib").glob("ld-linux-*.so.*"), *found]
