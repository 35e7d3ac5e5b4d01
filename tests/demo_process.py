"""`make demo` as a user runs it, on free ports and with a folder of its own."""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.supervisor import free_ports

ROOT = Path(__file__).resolve().parent.parent
# Jobs report about every second, and a lumisection takes half of one.
_SPEED = "40"
PORTS = (
    "SERVER_PORT",
    "POSTGRES_PORT",
    "SIMULATOR_PORT",
    "SERVER_METRICS_PORT",
    "GRABBER_PRODUCTION_METRICS_PORT",
    "GRABBER_PLAYBACK_METRICS_PORT",
)
# What a user may have set for the real thing: none of it is the demo's business.
_FOR_THE_REAL_THING = {
    "POSTGRES_HOST": "database.invalid",
    "POSTGRES_PASSWORD": "of-the-user",
    "CMSWEB_FRONTEND_PROXY_URL": "https://cmsweb.invalid",
    "DQM_FFF_SECRET": "CHANGEME",
    "SERVER_URL_PREFIX": "of/the/user",
    "ENV": "production",
    "https_proxy": "http://proxy.invalid",
}
_LAST_LINE = re.compile(r" +Control Room +(\S+) +user (\S+), password (\S+)")


def demo_ports() -> dict[str, str]:
    """A free port for each variable of the demo's that names one."""
    return {name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}


class DemoProcess:
    """A running `make demo` and what it has said; leaving it ends it.

    `clone`: one where nothing is set up yet, which is what makes it slow.
    """

    def __init__(self, folder: Path, ports: Mapping[str, str], clone: Path | None = None) -> None:
        self.folder = folder
        self.ports = ports
        self.lines: list[str] = []
        options = {**ports, "DEMO_FOLDER": str(folder), "DEMO_SPEED": _SPEED}
        self._make = subprocess.Popen(
            ["make", "--silent", *([] if clone else ["--old-file=install"]), "demo"],
            cwd=clone or ROOT,
            env={**(os.environ if clone else _of_a_user()), **options},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._make.poll() is None:
            self.terminate()
        self._make.communicate()

    def read_until(self, words: str) -> str:
        """Reads on to the line with these words; raises AssertionError if there is none."""
        assert self._make.stdout is not None
        for line in self._make.stdout:
            self.lines.append(line.rstrip("\n"))
            if words in line:
                return line
        raise AssertionError(f"no line with {words!r} in:\n" + "\n".join(self.lines))

    def read_to_its_end(self) -> int:
        """Reads all that it says until it has ended; returns make's exit status."""
        assert self._make.stdout is not None
        self.lines += self._make.stdout.read().splitlines()
        return self._make.wait()

    def terminate(self) -> None:
        """SIGTERM to make, which hands it on."""
        self._make.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to all that the terminal's user sees in the foreground."""
        os.killpg(self._make.pid, signal.SIGINT)

    def wait_until_ready(self) -> None:
        """Reads on to the last line, the Control Room's."""
        self.read_until("Control Room")

    @property
    def page(self) -> str:
        """The address of the page, as it was told."""
        [line] = [line for line in self.lines if "The mirror" in line]
        return line.split()[-1]

    @property
    def control_room(self) -> tuple[str, str, str]:
        """Address, user and password of the Control Room, as they were told."""
        [told] = filter(None, map(_LAST_LINE.fullmatch, self.lines))
        return told[1], told[2], told[3]

    def processes(self) -> dict[int, str]:
        """The processes that are the demo's, by what they have of its folder: number and command line."""
        return {
            int(entry.name): _command_line(entry)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and self._is_ours(entry)
        }

    def _is_ours(self, entry: Path) -> bool:
        mark = os.fsencode(self.folder)
        try:
            traces = os.fsencode((entry / "cwd").readlink()), (entry / "environ").read_bytes()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            return False
        return any(mark in trace for trace in traces)


def _command_line(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _of_a_user() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, **_FOR_THE_REAL_THING}
