"""Processes of the demo: started as in production, with an environment built from scratch."""

import os
import re
import socket
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from dqmsquare_cfg import Cluster
from runtime.supervisor import MEMORY_ENVIRONMENT, ProcessSpec
from simulator.certificates import CertificateAuthority
from simulator.control_commands import FFF_RELEASE
from simulator.gateway import BASE_PATH
from simulator.runs import StoppedRun
from tools.demo import data_dir
from tools.demo.postgres import EmbeddedPostgres

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
# Ended runs of each cluster at the first start.
_DEFAULT_PAST_RUNS = 25
_MAX_PAST_RUNS = 1000


class OptionsError(Exception):
    """Raised when options are invalid or ports are taken; `lines` has one message per problem."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True)
class Options:
    """`ports` by variable name, 0 for metrics that are disabled; `speed` relative to real time.

    `past_runs`: ended runs of each cluster at the first start.
    """

    ports: Mapping[str, int]
    speed: int
    past_runs: int
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
    past_runs = integer("DEMO_RUNS", _DEFAULT_PAST_RUNS, 0, _MAX_PAST_RUNS)
    folder = Path(environment.get("DEMO_FOLDER") or data_dir.path_for(clone)).absolute()
    if errors:
        raise OptionsError(errors)
    return Options(ports, speed, past_runs, folder)


def describe_variables(clone: Path) -> str:
    """The variables that `parse` reads, a line each, for the help."""
    described = {
        "DEMO_SPEED": "simulated time relative to real time, "
        f"from 1 to {_MAX_SPEED}; default: {_DEFAULT_SPEED}",
        "DEMO_RUNS": "past runs of each cluster at the first start, "
        f"from 0 to {_MAX_PAST_RUNS}; default: {_DEFAULT_PAST_RUNS}",
        "DEMO_FOLDER": f"directory of the data; default: {data_dir.path_for(clone)}",
        **{
            name: f"port; {'0 disables it; ' if name in METRICS_PORTS else ''}default: {default}"
            for name, default in _DEFAULT_PORTS.items()
        },
    }
    width = max(map(len, described))
    lines = (f"  {name:{width}}  {text}" for name, text in described.items())
    return "\n".join(("variables, in the environment or as in `make demo DEMO_SPEED=1`:", *lines))


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


def _to_argument(run: StoppedRun | None) -> str:
    return "-" if run is None else f"{run.number},{run.started_at},{run.stopped_at}"


CONTROL_ROOM_USER = "demo"

# Variables of the user's environment that are passed on.
_INHERITED = ("PATH", "HOME", "LANG")
# The minimum that the settings accept, so that hanging jobs become stuck while the user watches.
_STUCK_AFTER_S = 60
_STATUS_INTERVAL_S = 30
# Constant, so that the documents of past runs are those that were mirrored before.
_SEED = 1


class DemoProcesses:
    """Specifications of the demo's simulator, grabbers and server."""

    def __init__(
        self, root: Path, options: Options, postgres: EmbeddedPostgres, user_environment: Mapping[str, str]
    ) -> None:
        self._root = root
        self._options = options
        self._folder = options.folder
        for name in ("log", "tmp", "simulator"):
            (self._folder / name).mkdir(mode=0o700, exist_ok=True)
        self._authority = CertificateAuthority(self._folder / "simulator")
        self._dqm2_secret = self._folder / "dqm2_secret"
        self.control_room_password = data_dir.persistent_secret(self._folder / "control_room_password")
        inherited = {name: user_environment[name] for name in _INHERITED if name in user_environment}
        self.environment = {**inherited, **self._python(), **self._settings(postgres)}

    @property
    def dqm2_url(self) -> str:
        """Base URL of the simulated DQM²."""
        return f"https://{HOST}:{self._options.ports[SIMULATOR_PORT]}{BASE_PATH}"

    @property
    def server_port(self) -> int:
        """Port of the web server."""
        return self._options.ports[SERVER_PORT]

    @property
    def speed(self) -> int:
        """Simulated time relative to real time."""
        return self._options.speed

    def simulator(self, last_runs: Mapping[Cluster, StoppedRun]) -> ProcessSpec:
        """Simulator of both clusters; it continues after the last runs of an earlier one."""
        options = {
            "--port": self._options.ports[SIMULATOR_PORT],
            "--folder": self._folder / "simulator",
            "--secret-file": self._dqm2_secret,
            "--speed": self._options.speed,
            "--seed": _SEED,
            "--history": self._options.past_runs,
        }
        arguments = [str(word) for option in options.items() for word in option]
        arguments += ["--resume-after", *(_to_argument(last_runs.get(cluster)) for cluster in Cluster)]
        return self._spec("simulated DQM²", "simulator", ["-m", "simulator", *arguments])

    def grabber(self, cluster: Cluster) -> ProcessSpec:
        """Grabber of a cluster."""
        return self._spec(f"{cluster} grabber", f"grabber-{cluster}", ["grabber.py", cluster.value])

    def server(self) -> ProcessSpec:
        """Web server."""
        return self._spec("web server", "server", ["server.py"])

    def _spec(self, name: str, file_name: str, arguments: list[str]) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            arguments=[sys.executable, *arguments],
            environment=self.environment,
            cwd=self._root,
            output=self._folder / "log" / f"{file_name}.out",
        )

    def _python(self) -> dict[str, str]:
        temporary = self._folder / "tmp"
        variables = {"PYTHONUNBUFFERED": "1", **MEMORY_ENVIRONMENT, "TMPDIR": str(temporary)}
        # Bytecode that its owner could not remove does not belong in another user's clone.
        if self._root.stat().st_uid != os.getuid():
            variables["PYTHONPYCACHEPREFIX"] = str(temporary / "pycache")
        return variables

    def _settings(self, postgres: EmbeddedPostgres) -> dict[str, str]:
        ports = {name: str(self._options.ports[name]) for name in (SERVER_PORT, *METRICS_PORTS)}
        return {
            "ENV_FILE": "",
            "ENV": "development",
            **postgres.settings,
            "CMSWEB_FRONTEND_PROXY_URL": self.dqm2_url,
            "CMSWEB_CA_PATH": str(self._authority.ca_path),
            "SERVER_GRID_CERT_PATH": str(self._authority.client.certificate),
            "SERVER_GRID_KEY_PATH": str(self._authority.client.key),
            "DQM_FFF_SECRET": data_dir.persistent_secret(self._dqm2_secret),
            "DQM_CR_USERNAMES": f"{CONTROL_ROOM_USER}:{self.control_room_password}",
            "TESTED_FFF_RELEASE": FFF_RELEASE,
            "SERVER_HOST": HOST,
            **ports,
            "GRABBER_SLEEP_TIME_STATUS": str(_STATUS_INTERVAL_S),
            "STUCK_AFTER_S": str(_STUCK_AFTER_S),
            "LOG_DIR": str(self._folder / "log"),
            "TMP_DIR": str(self._folder / "tmp"),
        }
