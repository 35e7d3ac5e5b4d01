"""The simulated world: both clusters with their history, real-time simulation and forced events.

A `live` world follows the wall clock in a thread. Otherwise its clock stops until `advance` is called.
"""

import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from dqm2.records import LUMISECTION_S
from dqmsquare_cfg import Cluster
from simulator.clients import select_clients
from simulator.cluster_life import ClusterLife
from simulator.daemons import ClientSwitches, DaemonKind, Daemons, MachineStatsReporter
from simulator.fake_secrets import FakeSecrets
from simulator.machines import Topology
from simulator.runs import Job, JobOutcome, PlaybackConfig, Run, RunPlanner, StoppedRun
from simulator.scheduler import EventScheduler

# A live world starts in the middle of a run.
_ELAPSED_LUMISECTIONS = 4.5
# Between two past runs, and between the last of them and now.
_PAUSES_S = (600.0, 14_400.0)
_LAST_PAUSE_S = 300.0
_DAEMON_UPTIME_S = 6 * 86_400.0


class World:
    """Both clusters. Thread-safe. Clients are identified by name or tag."""

    def __init__(
        self,
        topology: Topology,
        *,
        seed: int,
        history: int,
        clients: Iterable[str] | None,
        speed: float,
        live: bool,
        run_length: tuple[int, int],
        resume_after: Mapping[Cluster, StoppedRun],
        now: float | None,
    ) -> None:
        self.secrets = FakeSecrets(seed)
        self._is_live = live
        self._topology = topology
        self._changed = threading.Condition()
        self._scheduler = EventScheduler(time.time() if now is None else now)
        hosts = [machine.name for machine in topology.machines]
        self.daemons = Daemons(hosts, self._scheduler.now - _DAEMON_UPTIME_S)
        self._stats = MachineStatsReporter(self._scheduler, self.daemons, speed)
        self._has_stats = False
        selected = select_clients(clients)
        planners = [
            RunPlanner(cluster, names, selected, seed, run_length)
            for cluster, names in topology.clusters.items()
        ]
        for planner in planners:
            if planner.cluster in resume_after:
                planner.resume(resume_after[planner.cluster].number)
        self.switches = ClientSwitches(_config_files(planners))
        self._lives = {
            planner.cluster: ClusterLife(
                planner,
                topology.machines_of(planner.cluster),
                self._scheduler,
                self.switches,
                self.secrets,
                speed,
            )
            for planner in planners
        }
        self.configure_playback(PlaybackConfig(number_of_ls=sum(run_length) // 2))
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        if history or resume_after:
            self._upload_past_runs(history, seed, run_length[1], resume_after)
        if live:
            self._start_runs()

    @property
    def now(self) -> float:
        """The simulated time, unix seconds."""
        return time.time() if self._is_live else self._scheduler.now

    def start(self) -> None:
        """Follow the wall clock, if the world is live."""
        if not self._is_live:
            return
        self._stopping.clear()
        self._thread = threading.Thread(target=self._follow_clock, name="simulator-world", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Pause until the next start, which catches up on the events in between."""
        self._stopping.set()
        with self._changed:
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def advance(self, seconds: float) -> None:
        """Move the clock forward. Raises RuntimeError if the world is live."""
        if self._is_live:
            raise RuntimeError("the clock of a live world can't be moved")
        with self._changed:
            self._scheduler.run_until(self._scheduler.now + seconds)

    def current_run(self, cluster: Cluster | str) -> Run | None:
        """The current run of a cluster, `None` between runs."""
        with self._changed:
            return self._life(cluster).run

    def jobs(self, cluster: Cluster | str) -> tuple[Job, ...]:
        """The jobs of a cluster whose end is not reported yet, those of earlier runs included."""
        with self._changed:
            return self._life(cluster).jobs

    def start_run(self, cluster: Cluster | str) -> Run:
        """End the current run of a cluster, if there is one, and start the next."""
        self._start_stats()
        with self._event() as now:
            return self._life(cluster).start_run(now)

    def end_run(self, cluster: Cluster | str) -> None:
        """End the current run of a cluster, if there is one; the next doesn't start by itself."""
        with self._event() as now:
            self._life(cluster).end_run(now)

    def crash(self, cluster: Cluster | str, client: str, exit_code: int = -11) -> None:
        """Let the newest job of a client crash.

        This and the following raise LookupError if no job of the client is running.
        """
        self._end_job(cluster, client, JobOutcome.CRASHED, exit_code)

    def finish(self, cluster: Cluster | str, client: str) -> None:
        """Let a client's job finish early."""
        self._end_job(cluster, client, JobOutcome.FINISHED)

    def hang(self, cluster: Cluster | str, client: str) -> None:
        """Let a client's job be silent until its run ends."""
        self._end_job(cluster, client, JobOutcome.HUNG)

    def stall(self, cluster: Cluster | str, client: str) -> None:
        """Let a client's job report the same lumisection until its run ends."""
        self._end_job(cluster, client, JobOutcome.STALLED)

    def vanish(self, cluster: Cluster | str, client: str) -> None:
        """Kill a client's job together with its monitor."""
        self._end_job(cluster, client, JobOutcome.VANISHED)

    def start_extra_job(self, cluster: Cluster | str, client: str) -> None:
        """Start another job of a client in the current run."""
        with self._event() as now:
            self._life(cluster).start_extra_job(client, now)

    def report_all(self, cluster: Cluster | str) -> None:
        """Let every job of a cluster report now, except silent ones."""
        with self._event() as now:
            self._life(cluster).report_all(now)

    @property
    def playback(self) -> PlaybackConfig:
        """The configuration of the next playback run."""
        with self._changed:
            return self._lives[Cluster.PLAYBACK].playback

    def configure_playback(self, config: PlaybackConfig) -> None:
        """Set the configuration of the next playback run."""
        with self._changed:
            self._lives[Cluster.PLAYBACK].playback = config

    def restart_daemon(self, kind: DaemonKind, host: str) -> None:
        """Restart a daemon and report it in the machine's stats. Raises KeyError for an unknown host."""
        with self._event() as now:
            self.daemons.get(kind, host).starts.append(now)
            self._stats.upload_stats(self._topology.machine(host), now)

    def _end_job(self, cluster: Cluster | str, client: str, outcome: JobOutcome, exit_code: int = 0) -> None:
        with self._event() as now:
            self._life(cluster).end_job(client, outcome, exit_code, now)

    @contextmanager
    def _event(self) -> Iterator[float]:
        """Time of an event that is forced now; its immediate consequences have happened on exit."""
        with self._changed:
            self._scheduler.run_until(self.now)
            yield self._scheduler.now
            self._scheduler.run_until(self._scheduler.now)
            self._changed.notify()

    def _life(self, cluster: Cluster | str) -> ClusterLife:
        return self._lives[Cluster(cluster)]

    def _follow_clock(self) -> None:
        with self._changed:
            while not self._stopping.is_set():
                self._scheduler.run_until(time.time())
                next_at = self._scheduler.next_at
                self._changed.wait(None if next_at is None else max(0.0, next_at - time.time()))

    def _start_runs(self) -> None:
        self._start_stats()
        for life in self._lives.values():
            life.start_run(self._scheduler.now, elapsed_lumisections=_ELAPSED_LUMISECTIONS)

    def _start_stats(self) -> None:
        """Start the periodic machine stats, with the first run or history."""
        with self._changed:
            if not self._has_stats:
                self._has_stats = True
                builder_units = [self._topology.machines_of(cluster)[0] for cluster in self._lives]
                self._stats.start(self._topology.machines, builder_units, self._scheduler.now)

    def _upload_past_runs(
        self, runs: int, seed: int, max_lumisections: int, resume_after: Mapping[Cluster, StoppedRun]
    ) -> None:
        self._start_stats()
        for cluster, life in self._lives.items():
            if cluster in resume_after:
                life.upload_stopped_run(resume_after[cluster])
                continue
            rng = random.Random(f"{seed}/{cluster}/history")  # noqa: S311 - a simulation
            durations_s = [max_lumisections * LUMISECTION_S + rng.uniform(*_PAUSES_S) for _ in range(runs)]
            started_at = self._scheduler.now - _LAST_PAUSE_S - sum(durations_s)
            for duration_s in durations_s:
                life.upload_past_run(started_at)
                started_at += duration_s


def _config_files(planners: Iterable[RunPlanner]) -> dict[str, list[str]]:
    """The configuration files of each machine's clients."""
    return {
        host: [client.config_file for client in planner.clients_of(host)]
        for planner in planners
        for host in planner.hosts
    }
