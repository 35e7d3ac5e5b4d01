"""What benchmarks stand on: a PostgreSQL, a simulated DQM² as a process of its own, the mirror's programs."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

import db
import dqmsquare_cfg
from dqmsquare_cfg import Cluster, Settings
from runtime.supervisor import MALLOC_ENVIRONMENT, Process, ProcessGroup, ProcessSpec
from simulator.certificates import CertificateAuthority
from simulator.simulator import DEFAULT_SECRET, PLAYBACK_MACHINES, PRODUCTION_MACHINES
from tools.demo.data_dir import PLACE
from tools.demo.postgres import EmbeddedPostgres

ROOT = Path(__file__).resolve().parent.parent
BUILDER_UNIT, FILTER_UNIT, OTHER_FILTER_UNIT = PRODUCTION_MACHINES
GATEWAY = PLAYBACK_MACHINES[0]
_DATABASES = {Cluster.PRODUCTION: "production", Cluster.PLAYBACK: "playback"}
_STARTED_WITHIN_S = 60.0


class Source:
    """A simulated DQM² in a process of its own, told what to do over its administration."""

    def __init__(self, process: Process, base_url: str, authority: CertificateAuthority) -> None:
        self.process = process
        self.base_url = base_url
        self.authority = authority
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(authority.ca_path)
        self._session.cert = (str(authority.client.certificate), str(authority.client.key))

    def tell(self, verb: str, **parameters: Any) -> Any:
        """Has a verb of its administration done; its answer."""
        address = urlsplit(self.base_url)
        response = self._session.post(
            f"{address.scheme}://{address.netloc}/simulator/{verb}", json=parameters, timeout=600
        )
        if response.status_code != requests.codes.ok:
            raise RuntimeError(f"{verb}: {response.text}")
        return response.json()


@dataclass(frozen=True)
class Stage:
    """A running PostgreSQL with two empty databases of the newest schema, and a folder for everything."""

    folder: Path
    postgres: EmbeddedPostgres
    processes: ProcessGroup

    def source(self, *, is_live: bool = False) -> Source:
        """Starts a simulated DQM²: with a past and runs that go on, or empty until it is told something."""
        folder = self.folder / "source"
        authority = CertificateAuthority(folder)
        words = ["-m", "simulator", "--folder", str(folder)]
        process = self.start("source", words if is_live else [*words, "--paused", "--history", "0"])
        return Source(process, self._first_line(process, "https://"), authority)

    def far(self, source: Source, round_trip_s: float) -> Source:
        """The same source, so far away."""
        port = urlsplit(source.base_url).port
        process = self.start("distance", ["-m", "benchmarks.latency_proxy", str(port), str(round_trip_s)])
        told = self._first_line(process, "listening on ").rpartition(" ")[2]
        base_url = source.base_url.replace(f":{port}/", f":{told}/")
        return Source(source.process, base_url, source.authority)

    def start(self, name: str, words: list[str], environment: Mapping[str, str] | None = None) -> Process:
        """Starts a Python program of the mirror; it ends with the stage."""
        kept = {word: os.environ[word] for word in ("PATH", "HOME", "LANG") if word in os.environ}
        return self.processes.start(
            ProcessSpec(
                name=name,
                arguments=[sys.executable, *words],
                environment={**kept, "PYTHONUNBUFFERED": "1", **MALLOC_ENVIRONMENT, **(environment or {})},
                cwd=ROOT,
                output=self.folder / f"{name}.out",
            )
        )

    def environment(self, source: Source | None = None, **settings: str) -> dict[str, str]:
        """The environment of the mirror's programs with this source, if they need one."""
        of_postgres = _of_postgres(self.postgres, self.folder)
        if source is None:
            return {**of_postgres, **settings}
        return {
            **of_postgres,
            "CMSWEB_FRONTEND_PROXY_URL": source.base_url,
            "CMSWEB_CA_PATH": str(source.authority.ca_path),
            "SERVER_GRID_CERT_PATH": str(source.authority.client.certificate),
            "SERVER_GRID_KEY_PATH": str(source.authority.client.key),
            **settings,
        }

    def empty(self) -> None:
        """Makes both databases anew."""
        for name in _DATABASES.values():
            self.postgres.drop_database(name)
            self.postgres.create_database(name)
        settings = dqmsquare_cfg.load(_of_postgres(self.postgres, self.folder))
        for cluster in Cluster:
            engine = db.engine(settings, cluster, "benchmark")
            db.migrate(engine)
            engine.dispose()

    def _first_line(self, process: Process, beginning: str) -> str:
        lines: list[str] = []
        while not lines:
            process.raise_if_exited()
            process.wait(0.05)
            lines = [line for line in process.tail() if line.startswith(beginning)]
        return lines[0]


@contextmanager
def stage() -> Iterator[Stage]:
    """A stage, taken down at the end."""
    folder = Path(tempfile.mkdtemp(prefix="dqmsquare-benchmark-", dir=PLACE))
    folder.chmod(0o711)
    try:
        with (
            EmbeddedPostgres(folder / "postgres") as postgres,
            ProcessGroup(stop_timeout_s=5.0) as processes,
        ):
            made = Stage(folder, postgres, processes)
            made.empty()
            yield made
    finally:
        shutil.rmtree(folder)


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that an environment makes."""
    return dqmsquare_cfg.load(environment)


def _of_postgres(postgres: EmbeddedPostgres, folder: Path) -> dict[str, str]:
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
        "PSEUDONYM_SECRET": "a-mirror-secret-of-the-benchmarks",
        "SESSION_SECRET": "a-session-secret-of-the-benchmarks",
        "LOG_DIR": str(folder / "log"),
        "TMP_DIR": str(folder / "tmp"),
    }
