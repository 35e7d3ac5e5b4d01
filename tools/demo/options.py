"""What can be said about the demo: its ports, its pace, its folder, by variables of the environment."""

import re
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tools.demo import data_dir

HOST = "127.0.0.1"

SERVER_PORT = "SERVER_PORT"
POSTGRES_PORT = "POSTGRES_PORT"
SIMULATOR_PORT = "SIMULATOR_PORT"
METRICS_PORTS = ("SERVER_METRICS_PORT", "GRABBER_PRODUCTION_METRICS_PORT", "GRABBER_PLAYBACK_METRICS_PORT")

# A real PostgreSQL and a real DQM² may run on their own ports.
_DEFAULT_PORTS = {
    SERVER_PORT: 8887,
    POSTGRES_PORT: 15432,
    SIMULATOR_PORT: 19215,
    **dict(zip(METRICS_PORTS, (18084, 18085, 18086), strict=True)),
}
# How much faster than at P5 time goes by in the simulated clusters: a lumisection every 3 s or so.
_DEFAULT_SPEED = 8
_MOST_SPEED = 1000


class OptionsError(Exception):
    """One or more options are bad, or a port is taken: a line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True)
class Options:
    """`ports` by the names of their variables, 0 for no metrics; `speed` in times P5's."""

    ports: Mapping[str, int]
    speed: int
    folder: Path


def read(given: Mapping[str, str], clone: Path) -> Options:
    """The options from the environment; raises OptionsError with a line for each that is bad."""
    problems: list[str] = []

    def number(name: str, default: int, least: int, most: int) -> int:
        text = given.get(name, "").strip() or str(default)
        if re.fullmatch(r"[0-9]{1,6}", text) and least <= int(text) <= most:
            return int(text)
        problems.append(f"{name} is {text!r}; accepted: a whole number from {least} to {most}")
        return default

    ports = {
        name: number(name, default, 0 if name in METRICS_PORTS else 1, 65535)
        for name, default in _DEFAULT_PORTS.items()
    }
    speed = number("DEMO_SPEED", _DEFAULT_SPEED, 1, _MOST_SPEED)
    folder = Path(given.get("DEMO_FOLDER") or data_dir.of_clone(clone)).absolute()
    if problems:
        raise OptionsError(problems)
    return Options(ports, speed, folder)


def refuse_taken_ports(ports: Mapping[str, int]) -> None:
    """Raises OptionsError with a line for each port that is taken, and the variable that changes it."""
    problems = []
    first_with: dict[int, str] = {}
    for name, port in ports.items():
        if port == 0:
            continue
        if port in first_with:
            problems.append(f"{name} is {port}, as {first_with[port]} is; each needs a port of its own")
        elif (why := _why_not(port)) is not None:
            problems.append(f"port {port} {why}; set {name} to another: make demo {name}=…")
        first_with.setdefault(port, name)
    if problems:
        raise OptionsError(problems)


def _why_not(port: int) -> str | None:
    """Why a port can't be listened on; None if it can."""
    with closing(socket.socket()) as door:
        # What is left of connections that were closed takes no port.
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((HOST, port))
        except PermissionError:
            return "is not for ordinary users"
        except OSError:
            return "is taken"
    return None
