"""The programs that the demo starts: each as in production, its environment made from scratch."""

import sys
from collections.abc import Mapping
from pathlib import Path

from dqmsquare_cfg import Cluster
from runtime.supervisor import MALLOC_ENVIRONMENT, ProcessSpec
from simulator.certificates import CertificateAuthority
from simulator.control_commands import FFF_RELEASE
from simulator.gateway import BASE_PATH
from tools.demo import data_dir
from tools.demo.options import HOST, METRICS_PORTS, SERVER_PORT, SIMULATOR_PORT, Options
from tools.demo.postgres import EmbeddedPostgres

CONTROL_ROOM_USER = "demo"
# Runs of each cluster that are over when the demo starts.
PAST_RUNS = 25

# Of the user's environment no more than what any program needs.
_KEPT = ("PATH", "HOME", "LANG")
# The shortest that the settings accept: jobs that hang are seen to be stuck while one watches.
_STUCK_AFTER_S = 60
_STATUS_EVERY_S = 30
# The same runs at each start: their documents are those that were mirrored already.
_SEED = 1


class Programs:
    """The simulator, the grabbers and the server of a demo over its PostgreSQL."""

    def __init__(
        self, clone: Path, options: Options, postgres: EmbeddedPostgres, user_environment: Mapping[str, str]
    ) -> None:
        self._clone = clone
        self._options = options
        self._folder = options.folder
        for name in ("log", "tmp", "simulator"):
            (self._folder / name).mkdir(mode=0o700, exist_ok=True)
        self._authority = CertificateAuthority(self._folder / "simulator")
        self._dqm2_secret = self._folder / "dqm2_secret"
        self.control_room_password = data_dir.kept_secret(self._folder / "control_room_password")
        kept = {name: user_environment[name] for name in _KEPT if name in user_environment}
        self.environment = {**kept, **self._python(), **self._settings(postgres)}

    @property
    def dqm2_url(self) -> str:
        """The way in to the simulated DQM²."""
        return f"https://{HOST}:{self._options.ports[SIMULATOR_PORT]}{BASE_PATH}"

    @property
    def server_port(self) -> int:
        """The web server's port."""
        return self._options.ports[SERVER_PORT]

    @property
    def speed(self) -> int:
        """How much faster than at P5 the simulated time goes by."""
        return self._options.speed

    def simulator(self, newest_runs: Mapping[Cluster, int]) -> ProcessSpec:
        """The simulated DQM², both clusters behind their gateway; its runs go on after those known."""
        options = {
            "--port": self._options.ports[SIMULATOR_PORT],
            "--folder": self._folder / "simulator",
            "--secret-file": self._dqm2_secret,
            "--speed": self._options.speed,
            "--seed": _SEED,
            "--history": PAST_RUNS,
        }
        words = [str(word) for option in options.items() for word in option]
        words += ["--resume-after", *(str(newest_runs[cluster]) for cluster in Cluster)]
        return self._program("simulated DQM²", "simulator", ["-m", "simulator", *words])

    def grabber(self, cluster: Cluster) -> ProcessSpec:
        """The daemon that mirrors a cluster."""
        return self._program(f"{cluster} grabber", f"grabber-{cluster}", ["grabber.py", cluster.value])

    def server(self) -> ProcessSpec:
        """The web server."""
        return self._program("web server", "server", ["server.py"])

    def _program(self, name: str, file_name: str, words: list[str]) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            arguments=[sys.executable, *words],
            environment=self.environment,
            cwd=self._clone,
            output=self._folder / "log" / f"{file_name}.out",
        )

    def _python(self) -> dict[str, str]:
        return {
            "PYTHONUNBUFFERED": "1",
            **MALLOC_ENVIRONMENT,
            # The clone may be another user's.
            "PYTHONPYCACHEPREFIX": str(self._folder / "tmp" / "pycache"),
            "TMPDIR": str(self._folder / "tmp"),
        }

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
            "DQM_FFF_SECRET": data_dir.kept_secret(self._dqm2_secret),
            "DQM_CR_USERNAMES": f"{CONTROL_ROOM_USER}:{self.control_room_password}",
            "TESTED_FFF_RELEASE": FFF_RELEASE,
            "SERVER_HOST": HOST,
            **ports,
            "GRABBER_SLEEP_TIME_STATUS": str(_STATUS_EVERY_S),
            "STUCK_AFTER_S": str(_STUCK_AFTER_S),
            "LOG_DIR": str(self._folder / "log"),
            "TMP_DIR": str(self._folder / "tmp"),
        }
