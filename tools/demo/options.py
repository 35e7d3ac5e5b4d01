"""Options of the demo: ports, speed and data directory, from environment variables."""

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

# Other than the usual ports of PostgreSQL and DQM², which may run here too.
_DEFAULT_PORTS = {
    SERVER_PORT: 8887,
    POSTGRES_PORT: 15432,
    SIMULATOR_PORT: 19215,
    **dict(zip(METRICS_PORTS, (18084, 18085, 18086), strict=True)),
}
# Simulated time relative to real time: a lumisection takes about 3 s.
_DEFAULT_SPEED = 8
_MAX_SPEED = 1000


class OptionsError(Exception):
    """Raised when options are invalid or ports are taken; `lines` has one message per problem."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True)
class Options:
    """`ports` by variable name, 0 for metrics that are disabled; `speed` relative to real time."""

    ports: Mapping[str, int]
    speed: int
    folder: Path


def parse(environment: Mapping[str, str], clone: Path) -> Options:
    """Options from the environment; raises OptionsError."""
    errors: list[str] = []

    def integer(name: str, default: int, minimum: int, maximum: int) -> int:
        text = environment.get(name, "").strip() or str(default)
        if re.fullmatch(r"[0-9]{1,6}", text) and minimum <= int(text) <= maximum:
            return int(text)
        errors.append(f"{name} is {text!r}; accepted: an integer from {minimum} to {maximum}")
        return default

    ports = {
        name: integer(name, default, 0 if name in METRICS_PORTS else 1, 65535)
        for name, default in _DEFAULT_PORTS.items()
    }
    speed = integer("DEMO_SPEED", _DEFAULT_SPEED, 1, _MAX_SPEED)
    folder = Path(environment.get("DEMO_FOLDER") or data_dir.path_for(clone)).absolute()
    if errors:
        raise OptionsError(errors)
    return Options(ports, speed, folder)


def check_ports(ports: Mapping[str, int]) -> None:
    """Raise OptionsError with a line per port that is taken, naming the variable that changes it."""
    errors = []
    first_with: dict[int, str] = {}
    for name, port in ports.items():
        if port == 0:
            continue
        if port in first_with:
            errors.append(f"{name} and {first_with[port]} are both {port}; each needs a port of its own")
        elif (reason := _unavailable(port)) is not None:
            errors.append(f"port {port} {reason}; choose another: make demo {name}=…")
        first_with.setdefault(port, name)
    if errors:
        raise OptionsError(errors)


def _unavailable(port: int) -> str | None:
    """Reason why a port cannot be listened on, if any."""
    with closing(socket.socket()) as listening:
        # Closed connections in TIME_WAIT do not occupy a port.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except PermissionError:
            return "is reserved for root"
        except OSError:
            return "is taken"
    return None
