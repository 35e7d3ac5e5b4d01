"""The world behind the gateway: both clusters, their past, their present in real time, and events by force.

With `live` a thread lets it go on with the wall clock. Otherwise its clock stands still until `advance`.
"""

import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from dqm2.records import LUMISECTION_S
from dqmsquare_cfg import Cluster
from simulator.clients import chosen
from simulator.cluster_life import ClusterLife
from simulator.daemons import Service, Services
from simulator.fake_secrets import Sensitive
from simulator.machine_stats import Vitals
from simulator.run_planner import Planner, PlaybackConfiguration
from simulator.runs import Fate, Job, Run
from simulator.scheduler import Agenda
from simulator.switches import Switches
from simulator.topology import Site

# A live world is met in the middle of a run.
_BEHIND_LUMISECTIONS = 4.5
# Between two runs of the past, and between the last of them and now.
_PAUSES_S = (600.0, 14_400.0)
_LAST_PAUSE_S = 300.0
_SERVICES_UP_S = 6 * 86_400.0


class World:
    """Both clusters. May be told things from any thread; clients are named by name or tag."""

    def __init__(
        self,
        site: Site,
        *,
        seed: int,
        history: int,
        clients: Iterable[str] | None,
        speed: float,
        live: bool,
        run_length: tuple[int, int],
        resume_after: Mapping[Cluster, int],
        now: float | None,
    ) -> None:
        self.sensitive = Sensitive(seed)
        self._is_live = live
        self._site = site
        self._changed = threading.Condition()
        self._agenda = Agenda(time.time() if now is None else now)
        hosts = tuple(machine.name for machine in site.machines)
        self.services = Services(hosts, self._agenda.now - _SERVICES_UP_S)
        self._vitals = Vitals(self._agenda, self.services, speed)
        self._has_vitals = False
        own_clients = chosen(clients)
        planners = [
            Planner(cluster, names, own_clients, seed, run_length) for cluster, names in site.clusters.items()
        ]
        for planner in planners:
            planner.resume(resume_after.get(planner.cluster, 0), past=history)
        self.switches = Switches(_configurations(planners))
        self._lives = {
            planner.cluster: ClusterLife(
                planner,
                site.machines_of(planner.cluster),
                self._agenda,
                self.switches,
                self.sensitive,
                speed,
            )
            for planner in planners
        }
        self.configure_playback(PlaybackConfiguration(number_of_ls=sum(run_length) // 2))
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        if history:
            self._write_history(history, seed, run_length[1])
        if live:
            self._begin()

    @property
    def now(self) -> float:
        """The world's time, unix seconds."""
        return time.time() if self._is_live else self._agenda.now

    def start(self) -> None:
        """Goes on with the wall clock, if the world is live."""
        if not self._is_live:
            return
        self._stopping.clear()
        self._thread = threading.Thread(target=self._go_on, name="simulator-world", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stands still until it is started again; what would have happened meanwhile happens then."""
        self._stopping.set()
        with self._changed:
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def advance(self, seconds: float) -> None:
        """Lets the clock of a world go on that isn't live. Raises RuntimeError if it is."""
        if self._is_live:
            raise RuntimeError("a live world goes on by itself")
        with self._changed:
            self._agenda.run_until(self._agenda.now + seconds)

    def run(self, cluster: Cluster | str) -> Run | None:
        """The run that goes on in a cluster, if one does."""
        with self._changed:
            return self._life(cluster).run

    def jobs(self, cluster: Cluster | str) -> tuple[Job, ...]:
        """The jobs of a cluster whose end was not told, those of earlier runs included."""
        with self._changed:
            return self._life(cluster).jobs

    def next_run(self, cluster: Cluster | str) -> Run:
        """Ends the run of a cluster, if one goes on, and begins the next."""
        self._wake()
        with self._happening() as now:
            return self._life(cluster).begin_run(now)

    def end_run(self, cluster: Cluster | str) -> None:
        """Ends the run of a cluster, if one goes on; no other begins by itself."""
        with self._happening() as now:
            self._life(cluster).end_run(now)

    def crash(self, cluster: Cluster | str, client: str, exit_code: int = -11) -> None:
        """Crashes the newest job of a client. Raises LookupError if none of it runs, as all of these."""
        self._strike(cluster, client, Fate.CRASHES, exit_code)

    def finish(self, cluster: Cluster | str, client: str) -> None:
        """Lets a client's job finish early."""
        self._strike(cluster, client, Fate.FINISHES, 0)

    def hang(self, cluster: Cluster | str, client: str) -> None:
        """Lets a client's job fall silent until its run is over."""
        self._strike(cluster, client, Fate.HANGS, 0)

    def stand_still(self, cluster: Cluster | str, client: str) -> None:
        """Lets a client's job report the same lumisection until its run is over."""
        self._strike(cluster, client, Fate.STANDS_STILL, 0)

    def vanish(self, cluster: Cluster | str, client: str) -> None:
        """Kills a client's job together with its monitor."""
        self._strike(cluster, client, Fate.VANISHES, 0)

    def start_another(self, cluster: Cluster | str, client: str) -> None:
        """Starts another job of a client in the present run."""
        with self._happening() as now:
            self._life(cluster).start_another(client, now)

    def report_all(self, cluster: Cluster | str) -> None:
        """Lets every job of a cluster report now."""
        with self._happening() as now:
            self._life(cluster).report_all(now)

    @property
    def playback(self) -> PlaybackConfiguration:
        """What the next run of the playback cluster will play."""
        with self._changed:
            return self._lives[Cluster.PLAYBACK].playback

    def configure_playback(self, configuration: PlaybackConfiguration) -> None:
        """Sets what the next run of the playback cluster will play."""
        with self._changed:
            self._lives[Cluster.PLAYBACK].playback = configuration

    def restart_service(self, service: Service, host: str) -> None:
        """Starts a daemon anew; the machine tells of it. Raises KeyError for another host."""
        with self._happening() as now:
            self.services.daemon(service, host).starts.append(now)
            self._vitals.upload_memory(self._site.machine(host), now)

    def _strike(self, cluster: Cluster | str, client: str, fate: Fate, exit_code: int) -> None:
        with self._happening() as now:
            self._life(cluster).strike(client, fate, exit_code, now)

    @contextmanager
    def _happening(self) -> Iterator[float]:
        """The time of something that happens now; what follows from it at once has happened behind it."""
        with self._changed:
            self._agenda.run_until(self.now)
            yield self._agenda.now
            self._agenda.run_until(self._agenda.now)
            self._changed.notify()

    def _life(self, cluster: Cluster | str) -> ClusterLife:
        return self._lives[Cluster(cluster)]

    def _go_on(self) -> None:
        with self._changed:
            while not self._stopping.is_set():
                self._agenda.run_until(time.time())
                next_at = self._agenda.next_at
                self._changed.wait(None if next_at is None else max(0.0, next_at - time.time()))

    def _begin(self) -> None:
        self._wake()
        for life in self._lives.values():
            life.begin_run(self._agenda.now, behind_lumisections=_BEHIND_LUMISECTIONS)

    def _wake(self) -> None:
        """From now on machines tell of themselves."""
        with self._changed:
            if not self._has_vitals:
                self._has_vitals = True
                builder_units = [self._site.machines_of(cluster)[0] for cluster in self._lives]
                self._vitals.begin(self._site.machines, builder_units, self._agenda.now)

    def _write_history(self, runs: int, seed: int, longest: int) -> None:
        self._wake()
        for cluster, life in self._lives.items():
            rng = random.Random(f"{seed}/{cluster}/history")  # noqa: S311 - a simulation
            spans = [longest * LUMISECTION_S + rng.uniform(*_PAUSES_S) for _ in range(runs)]
            started_at = self._agenda.now - _LAST_PAUSE_S - sum(spans)
            for span in spans:
                life.write_past_run(started_at)
                started_at += span


def _configurations(planners: Iterable[Planner]) -> dict[str, list[str]]:
    """The configuration files of the clients of each machine."""
    return {
        host: [client.configuration for client in planner.clients_of(host)]
        for planner in planners
        for host in planner.hosts
    }
