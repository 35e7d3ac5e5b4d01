"""`make demo` as a user runs it, on free ports and with its own data directory."""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.supervisor import free_ports
from tests.processes import command_line, pids, with_environment, working_directory

ROOT = Path(__file__).resolve().parent.parent
# A lumisection takes half a second, and jobs report about once per second.
_SPEED = "40"
_PAST_RUNS = "1"
PORTS = (
    "SERVER_PORT",
    "POSTGRES_PORT",
    "SIMULATOR_PORT",
    "SERVER_METRICS_PORT",
    "GRABBER_PRODUCTION_METRICS_PORT",
    "GRABBER_PLAYBACK_METRICS_PORT",
)
# Settings of the user's environment, which the demo has to ignore.
_SETTINGS_TO_IGNORE = {
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
    """A free port for each of the demo's port variables."""
    return {name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}


class DemoProcess:
    """A `make demo` and its output so far; stopped when the context exits.

    `clone`: a clone in which nothing is installed yet, which takes minutes.
    """

    def __init__(self, folder: Path, ports: Mapping[str, str], clone: Path | None = None) -> None:
        self.folder = folder
        self.ports = ports
        self.lines: list[str] = []
        options = {**ports, "DEMO_FOLDER": str(folder), "DEMO_SPEED": _SPEED, "DEMO_RUNS": _PAST_RUNS}
        self._make = subprocess.Popen(
            ["make", "--silent", *([] if clone else ["--old-file=install"]), "demo"],
            cwd=clone or ROOT,
            env={**(os.environ if clone else _user_environment()), **options},
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

    def read_until(self, text: str) -> str:
        """Read up to the line that contains a text; raises AssertionError if there is none."""
        assert self._make.stdout is not None
        for line in self._make.stdout:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return line
        raise AssertionError(f"no line with {text!r} in:\n" + "\n".join(self.lines))

    def wait(self) -> int:
        """Read the rest of the output; returns make's exit status."""
        assert self._make.stdout is not None
        self.lines += self._make.stdout.read().splitlines()
        return self._make.wait()

    def terminate(self) -> None:
        """Send SIGTERM to make, which forwards it."""
        self._make.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Send SIGINT to the process group, like Ctrl-C."""
        os.killpg(self._make.pid, signal.SIGINT)

    def wait_until_ready(self) -> None:
        """Read up to the last line, that of the Control Room."""
        self.read_until("Control Room")

    @property
    def page(self) -> str:
        """Address of the pages in the output."""
        [line] = [line for line in self.lines if "The mirror" in line]
        return line.split()[-1]

    @property
    def control_room(self) -> tuple[str, str, str]:
        """Address, user and password of the Control Room in the output."""
        [found] = filter(None, map(_LAST_LINE.fullmatch, self.lines))
        return found[1], found[2], found[3]

    def processes(self) -> dict[int, str]:
        """Command lines by id of the demo's processes, recognized by its data directory."""
        folder = str(self.folder)
        of_cwd = [pid for pid in pids() if folder in working_directory(pid)]
        return {pid: command_line(pid) for pid in {*of_cwd, *with_environment(folder)}}


def _user_environment() -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**inherited, **_SETTINGS_TO_IGNORE}
