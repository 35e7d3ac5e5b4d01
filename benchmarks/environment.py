"""Benchmark environment: PostgreSQL, a simulated DQM² and the mirror's programs as separate processes."""

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import db
import dqmsquare_cfg
from dqmsquare_cfg import Cluster, Settings
from runtime.supervisor import MEMORY_ENVIRONMENT, Process, ProcessGroup, ProcessSpec, free_port
from simulator.admin import AdminClient
from simulator.certificates import CertificateAuthority
from simulator.simulator import DEFAULT_SECRET, PLAYBACK_MACHINES, PRODUCTION_MACHINES
from storage.schema import migrate
from tools.demo.data_dir import BASE
from tools.demo.postgres import EmbeddedPostgres

ROOT = Path(__file__).resolve().parent.parent
BUILDER_UNIT, FILTER_UNIT, OTHER_FILTER_UNIT = PRODUCTION_MACHINES
GATEWAY = PLAYBACK_MACHINES[0]
_DATABASES = {Cluster.PRODUCTION: "production", Cluster.PLAYBACK: "playback"}
_SERVER_START_TIMEOUT_S = 30.0
_BARE_APP = "benchmarks.baselines:create_bare_app()"
_PLAIN_API = "benchmarks.plain_api:create_app()"
_GTHREAD_OPTIONS = (
    *("--worker-class", "gthread", "--threads", "8"),
    *("--keep-alive", "20", "--worker-connections", "4096"),
)
_SYNC_OPTIONS = ("--worker-class", "sync", "--workers", "4")


@dataclass(frozen=True, slots=True)
class SimulatedDqm2:
    """A running simulator, the certificates for it, and the client by which benchmarks control it."""

    process: Process
    base_url: str
    authority: CertificateAuthority
    admin: AdminClient


@dataclass(frozen=True, slots=True)
class Server:
    """A web server that listens at `url`."""

    process: Process
    url: str


@dataclass(frozen=True)
class BenchmarkEnvironment:
    """A running PostgreSQL with an empty database per cluster, and a folder for all files."""

    folder: Path
    postgres: EmbeddedPostgres
    processes: ProcessGroup

    def start_dqm2(self, *, is_live: bool = False) -> SimulatedDqm2:
        """Start a simulated DQM²: empty, or with a history and ongoing runs."""
        folder = self.folder / "dqm2"
        authority = CertificateAuthority(folder)
        arguments = ["-m", "simulator", "--folder", str(folder)]
        process = self.start("dqm2", arguments if is_live else [*arguments, "--paused", "--history", "0"])
        base_url = self._first_line(process, "https://")
        return SimulatedDqm2(process, base_url, authority, AdminClient(base_url, folder))

    def delayed(self, dqm2: SimulatedDqm2, round_trip_s: float) -> SimulatedDqm2:
        """The same simulator, reached through a proxy that adds latency."""
        port = urlsplit(dqm2.base_url).port
        process = self.start(
            "latency-proxy", ["-m", "benchmarks.latency_proxy", str(port), str(round_trip_s)]
        )
        proxy_port = self._first_line(process, "listening on ").rpartition(" ")[2]
        return replace(dqm2, base_url=dqm2.base_url.replace(f":{port}/", f":{proxy_port}/"))

    def mirror_server(self) -> Server:
        """The mirror's web server as in production."""
        return self._start_server("server", ["server.py"], str(free_port()))

    def uncached_server(self) -> Server:
        """The mirror's web application without the change listener, and therefore without its caches."""
        return self._start_gunicorn("uncached-server", "server:create_app()", _GTHREAD_OPTIONS)

    def plain_api_server(self) -> Server:
        """A plain application that answers the API's calls (`benchmarks/plain_api.py`), in threads."""
        return self._start_gunicorn("plain-api", _PLAIN_API, _GTHREAD_OPTIONS)

    def bare_server(self) -> Server:
        """A Flask view that answers 304 (`benchmarks/baselines.py`), in threads."""
        return self._start_gunicorn("bare-server", _BARE_APP, _GTHREAD_OPTIONS)

    def bare_sync_server(self) -> Server:
        """The same in four processes, without persistent connections."""
        return self._start_gunicorn("bare-sync-server", _BARE_APP, _SYNC_OPTIONS)

    def start(self, name: str, arguments: list[str], variables: Mapping[str, str] | None = None) -> Process:
        """Start a Python program of the mirror; it ends with the environment."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return self.processes.start(
            ProcessSpec(
                name=name,
                arguments=[sys.executable, *arguments],
                environment={**inherited, "PYTHONUNBUFFERED": "1", **MEMORY_ENVIRONMENT, **(variables or {})},
                cwd=ROOT,
                output=self.folder / f"{name}.out",
            )
        )

    def variables(self, dqm2: SimulatedDqm2 | None = None, **settings: str) -> dict[str, str]:
        """The environment variables of the mirror's programs."""
        if dqm2 is None:
            return {**_base_variables(self.postgres, self.folder), **settings}
        return {
            **_base_variables(self.postgres, self.folder),
            "CMSWEB_FRONTEND_PROXY_URL": dqm2.base_url,
            "CMSWEB_CA_PATH": str(dqm2.authority.ca_path),
            "SERVER_GRID_CERT_PATH": str(dqm2.authority.client.certificate),
            "SERVER_GRID_KEY_PATH": str(dqm2.authority.client.key),
            **settings,
        }

    def settings(self, dqm2: SimulatedDqm2 | None = None) -> Settings:
        """The settings of the mirror's programs."""
        return dqmsquare_cfg.load(self.variables(dqm2))

    def recreate_databases(self) -> None:
        """Replace both databases by empty ones with the current schema."""
        for name in _DATABASES.values():
            self.postgres.drop_database(name)
            self.postgres.create_database(name)
        settings = self.settings()
        for cluster in Cluster:
            engine = db.engine(settings, cluster, "benchmark")
            migrate(engine)
            engine.dispose()

    def _start_gunicorn(self, name: str, application: str, options: Sequence[str]) -> Server:
        port = str(free_port())
        arguments = ["-m", "gunicorn", application, *options, "--bind", f"127.0.0.1:{port}"]
        return self._start_server(name, arguments, port)

    def _start_server(self, name: str, arguments: list[str], port: str) -> Server:
        process = self.start(name, arguments, self.variables(SERVER_PORT=port))
        deadline_s = time.monotonic() + _SERVER_START_TIMEOUT_S
        while not _accepts_connections(port):
            process.raise_if_exited()
            if time.monotonic() > deadline_s:
                raise RuntimeError(process.report("does not accept connections"))
            process.wait(0.05)
        return Server(process, f"http://127.0.0.1:{port}")

    def _first_line(self, process: Process, prefix: str) -> str:
        """Wait for a line of output with the prefix."""
        lines: list[str] = []
        while not lines:
            process.raise_if_exited()
            process.wait(0.05)
            lines = [line for line in process.tail() if line.startswith(prefix)]
        return lines[0]


@contextmanager
def benchmark_environment() -> Iterator[BenchmarkEnvironment]:
    """An environment in a temporary folder, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="dqmsquare-benchmark-", dir=BASE))
    folder.chmod(0o711)
    try:
        with (
            EmbeddedPostgres(folder / "postgres") as postgres,
            ProcessGroup(stop_timeout_s=5.0) as processes,
        ):
            environment = BenchmarkEnvironment(folder, postgres, processes)
            environment.recreate_databases()
            yield environment
    finally:
        shutil.rmtree(folder)


def _accepts_connections(port: str) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", int(port))) == 0


def _base_variables(postgres: EmbeddedPostgres, folder: Path) -> dict[str, str]:
    return {
        "ENV": "development",
        "ENV_FILE": "",
        **postgres.settings,
        "POSTGRES_PRODUCTION_DB_NAME": _DATABASES[Cluster.PRODUCTION],
        "POSTGRES_PLAYBACK_DB_NAME": _DATABASES[Cluster.PLAYBACK],
        "DQM_FFF_SECRET": DEFAULT_SECRET,
        "GRABBER_PRODUCTION_METRICS_PORT": "0",
        "GRABBER_PLAYBACK_METRICS_PORT": "0",
        "SERVER_METRICS_PORT": "0",
        "PSEUDONYM_SECRET": "a-pseudonym-secret-of-the-benchmarks",
        "SESSION_SECRET": "a-session-secret-of-the-benchmarks",
        "LOG_DIR": str(folder / "log"),
        "TMP_DIR": str(folder / "tmp"),
    }
