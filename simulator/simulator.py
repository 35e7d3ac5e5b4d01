"""The simulator as a whole, as started by tests and the command line."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from requests import Session

from dqmsquare_cfg import Cluster
from simulator.admin import ADMIN_PATH, AdminEndpoint
from simulator.certificates import CertificateAuthority
from simulator.control_commands import CommandMode, ControlCommands
from simulator.fault_injection import FaultInjector
from simulator.gateway import BASE_PATH, COOKIE_NAME, RELAY_TIMEOUT_S, Gateway
from simulator.http_types import RecordedRequest, Request, RequestRecorder, Response, SendMode
from simulator.https_server import HOST, HttpsServer
from simulator.job_reports import upload_finished_jobs
from simulator.machines import Machine, Topology
from simulator.runs import StoppedRun
from simulator.world import World

PRODUCTION_MACHINES = ("dqmrubu-c2a06-01-01", "dqmfu-c2b03-45-01", "dqmfu-c2b04-45-01")
PLAYBACK_MACHINES = ("dqmrubu-c2a06-03-01", "dqmfu-c2b01-45-01", "dqmfu-c2b02-45-01")
GATEWAY_MACHINE = "dqmrubu-c2a06-03-01"
DEFAULT_SECRET = "simulated"  # noqa: S105 - valid only for simulators
# Minimum and maximum number of lumisections of a run.
RUN_LENGTH = (25, 90)


class Simulator:
    """Both clusters behind one gateway, served over HTTPS on the loopback interface.

    `folder`: holds the certificates. `port`: 0 picks a free one; a restarted simulator keeps its port and its
    documents. `history`: number of past runs per cluster. `clients`: names or tags, `None` for all. `live`:
    runs proceed in real time, `speed` times as fast as data taking; otherwise time starts at `now` and moves
    only with `world.advance`. `resume_after`: the last run of an earlier simulator, which takes the place of
    the history; its clusters continue after it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        seed: int = 1,
        history: int = 0,
        clients: Iterable[str] | None = None,
        speed: float = 1.0,
        live: bool = False,
        run_length: tuple[int, int] = RUN_LENGTH,
        resume_after: Mapping[Cluster, StoppedRun] | None = None,
        now: float | None = None,
        secret: str = DEFAULT_SECRET,
        production: Sequence[str] = PRODUCTION_MACHINES,
        playback: Sequence[str] = PLAYBACK_MACHINES,
        gateway: str = GATEWAY_MACHINE,
        mode: CommandMode | str = CommandMode.DOCUMENTED,
        clock_offsets_s: Mapping[str, float] | None = None,
        relay_timeout_s: float = RELAY_TIMEOUT_S,
    ) -> None:
        self.secret = secret
        self.authority = CertificateAuthority(folder)
        self.topology = Topology(
            {Cluster.PRODUCTION: production, Cluster.PLAYBACK: playback}, gateway, clock_offsets_s
        )
        self.world = World(
            self.topology,
            seed=seed,
            history=history,
            clients=clients,
            speed=speed,
            live=live,
            run_length=run_length,
            resume_after=resume_after or {},
            now=now,
        )
        self.faults = FaultInjector()
        self.recorder = RequestRecorder()
        # Called before each response of the gateway, so that tests can interfere.
        self.on_request: Callable[[Request], object] = lambda _request: None
        self._port = port
        self._stopping = threading.Event()
        self._server: HttpsServer | None = None
        self.control = ControlCommands(self.topology, self.world, CommandMode(mode), self._stopping.wait)
        self._admin = AdminEndpoint(self.topology, self.world, self.faults, self.control, self.recorder)
        self._gateway = Gateway(
            self.topology,
            self.faults,
            self.control,
            secret=secret,
            wait=self._stopping.wait,
            relay_timeout_s=relay_timeout_s,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start serving in background threads. Raises OSError if the port is taken."""
        self._stopping.clear()
        self._server = HttpsServer(self._port, self.authority, self._respond, self.faults.refuses_connection)
        self._port = self._server.port
        self._server.start()
        self.world.start()

    def stop(self) -> None:
        """Close the port and every connection, without waiting for responses in progress."""
        self._stopping.set()
        self.world.stop()
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def port(self) -> int:
        """The port of the server; 0 before the first start if it picks a free one."""
        return self._port

    @property
    def base_url(self) -> str:
        """The value for the setting `CMSWEB_FRONTEND_PROXY_URL`."""
        return f"https://{HOST}:{self._port}{BASE_PATH}"

    @property
    def ca_path(self) -> Path:
        """The authority's certificate, with which clients verify the simulator."""
        return self.authority.ca_path

    @property
    def client_cert_path(self) -> Path:
        """The client certificate, in place of a grid certificate."""
        return self.authority.client.certificate

    @property
    def client_key_path(self) -> Path:
        """The key of the client certificate."""
        return self.authority.client.key

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The requests to the gateway, oldest first."""
        return self.recorder.requests()

    def session(self) -> Session:
        """An HTTP session with the client certificate and the cookie."""
        session = Session()
        session.trust_env = False
        session.cert = (str(self.client_cert_path), str(self.client_key_path))
        session.verify = str(self.ca_path)
        session.headers["Cookie"] = f"{COOKIE_NAME}={self.secret}"
        return session

    def machine(self, name: str) -> Machine:
        """The machine with a name, short or ending in `.cms`. Raises KeyError if there is none."""
        return self.topology.machine(name)

    def use_certificate(self, *, expired: bool) -> None:
        """Close all connections and present an expired or the valid certificate on new ones."""
        if self._server is None:
            raise RuntimeError("the simulator is not running")
        if expired:
            self.authority.make_expired_server()
        self._server.use_certificate(self.authority.expired_server if expired else self.authority.server)
        self._server.close_connections()

    def close_connections(self) -> None:
        """Close every connection; new ones are accepted."""
        if self._server is not None:
            self._server.close_connections()

    def fill(self, host: str, count: int, *, small: bool = False) -> None:
        """Upload documents of finished jobs to a machine: 41 kB each, or `small` ones without logs."""
        upload_finished_jobs(self.machine(host), count, self.world.secrets, small=small)

    def _respond(self, request: Request) -> Response:
        if request.path.startswith(ADMIN_PATH):
            return self._admin.respond(request)
        started_s = time.monotonic()
        self.on_request(request)
        response = self._gateway.respond(request)
        status = 0 if response.send_mode is SendMode.CLOSE else response.status
        self.recorder.record(request, status, started_s=started_s, ended_s=time.monotonic())
        return response
