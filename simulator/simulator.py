"""The simulator as a whole: what tests and the command line start."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from requests import Session

from dqmsquare_cfg import Cluster
from simulator.admin import ADMINISTRATION_PATH, Administration
from simulator.bulk_documents import fill
from simulator.certificates import Authority
from simulator.control_commands import Control, Mode
from simulator.fault_injection import Faults
from simulator.gateway import BASE_PATH, COOKIE, RELAY_TIMEOUT_S, Gateway
from simulator.http_types import Answer, Manner, Request
from simulator.https_server import HOST, HttpsServer
from simulator.machine import Machine
from simulator.request_recorder import Recorded, Recorder
from simulator.topology import Site
from simulator.world import World

PRODUCTION = ("dqmrubu-c2a06-01-01", "dqmfu-c2b03-45-01", "dqmfu-c2b04-45-01")
PLAYBACK = ("dqmrubu-c2a06-03-01", "dqmfu-c2b01-45-01", "dqmfu-c2b02-45-01")
GATEWAY = "dqmrubu-c2a06-03-01"
SECRET = "simulated"  # noqa: S105 - opens nothing but a simulator
# A run has from so many to so many lumisections.
RUN_LENGTH = (25, 90)


class Simulator:
    """Both clusters behind one gateway, served over HTTPS on the loopback while it is started.

    `folder` keeps the certificates. Port 0 is any free one; a stopped simulator starts again on the port
    that it had, with the documents that it has. `history`: finished runs a cluster; `clients`: those that
    run, by name or tag, `None` for all; `live`: runs go on in real time, `speed` times as fast as data
    taking; otherwise nothing moves unless `world` is told to, from the time `now` on. `resume_after`: the
    run of a cluster that `history` ends with, as when another simulator has got so far.
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
        resume_after: Mapping[Cluster, int] | None = None,
        now: float | None = None,
        secret: str = SECRET,
        production: Sequence[str] = PRODUCTION,
        playback: Sequence[str] = PLAYBACK,
        gateway: str = GATEWAY,
        mode: Mode | str = Mode.ANNOUNCED,
        clock_offsets_s: Mapping[str, float] | None = None,
        relay_timeout_s: float = RELAY_TIMEOUT_S,
    ) -> None:
        self.secret = secret
        self.authority = Authority(folder)
        self.site = Site(
            {Cluster.PRODUCTION: production, Cluster.PLAYBACK: playback}, gateway, clock_offsets_s
        )
        self.world = World(
            self.site,
            seed=seed,
            history=history,
            clients=clients,
            speed=speed,
            live=live,
            run_length=run_length,
            resume_after=resume_after or {},
            now=now,
        )
        self.faults = Faults()
        self.recorder = Recorder()
        # Called with each request to the gateway before it is answered: for tests of what happens in between.
        self.on_request: Callable[[Request], object] = lambda _request: None
        self._port = port
        self._stopping = threading.Event()
        self._server: HttpsServer | None = None
        self.control = Control(self.site, self.world, Mode(mode), self._stopping.wait)
        self._administration = Administration(self.site, self.world, self.faults, self.control, self.recorder)
        self._gateway = Gateway(
            self.site,
            self.faults,
            self.control,
            secret=secret,
            wait=self._stopping.wait,
            relay_timeout_s=relay_timeout_s,
        )

    def __enter__(self) -> "Simulator":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Serves in background threads. Raises OSError if the port is taken."""
        self._stopping.clear()
        self._server = HttpsServer(self._port, self.authority, self._answer, self.faults.takes_connection)
        self._port = self._server.port
        self._server.start()
        self.world.start()

    def stop(self) -> None:
        """Closes the port and every connection, whatever waits."""
        self._stopping.set()
        self.world.stop()
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def port(self) -> int:
        """The port that is served; 0 before the first start if any free one is to be taken."""
        return self._port

    @property
    def base_url(self) -> str:
        """What `CMSWEB_FRONTEND_PROXY_URL` is set to."""
        return f"https://{HOST}:{self._port}{BASE_PATH}"

    @property
    def ca_path(self) -> Path:
        """The authority that a client verifies the simulator by."""
        return self.authority.ca_path

    @property
    def client_cert_path(self) -> Path:
        """The certificate that stands for the grid certificate."""
        return self.authority.client.certificate

    @property
    def client_key_path(self) -> Path:
        """Its key."""
        return self.authority.client.key

    @property
    def requests(self) -> tuple[Recorded, ...]:
        """The requests that reached the gateway, the oldest first."""
        return self.recorder.requests()

    def session(self) -> Session:
        """A session of a client with the certificate and the cookie, which trusts the authority."""
        session = Session()
        session.trust_env = False
        session.cert = (str(self.client_cert_path), str(self.client_key_path))
        session.verify = str(self.ca_path)
        session.headers["Cookie"] = f"{COOKIE}={self.secret}"
        return session

    def machine(self, name: str) -> Machine:
        """A machine by its name, short or ending in `.cms`. Raises KeyError if there is none."""
        return self.site.machine(name)

    def present_certificate(self, *, expired: bool) -> None:
        """Shows an expired certificate, or the good one again, to whoever connects from now on."""
        if self._server is None:
            raise RuntimeError("the simulator is not started")
        if expired:
            self.authority.make_expired_server()
        self._server.present(self.authority.expired_server if expired else self.authority.server)
        self._server.cut_connections()

    def cut_connections(self) -> None:
        """Closes every connection; new ones are welcome."""
        if self._server is not None:
            self._server.cut_connections()

    def fill(self, host: str, count: int, *, small: bool = False) -> None:
        """Uploads documents of finished jobs to a machine, by default of 41 kB with logs."""
        fill(self.machine(host), count, self.world.sensitive, small=small)

    def _answer(self, request: Request) -> Answer:
        if request.path.startswith(ADMINISTRATION_PATH):
            return self._administration.answer(request)
        began_s = time.monotonic()
        self.on_request(request)
        answer = self._gateway.answer(request)
        status = 0 if answer.manner is Manner.CUT else answer.status
        self.recorder.record(request, status, began_s=began_s, ended_s=time.monotonic())
        return answer
