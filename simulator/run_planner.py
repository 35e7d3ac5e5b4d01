"""Plans of runs and of their jobs, drawn from a seed: a run's name and length, and which jobs fail."""

import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dqmsquare_cfg import Cluster
from simulator.clients import Client
from simulator.runs import Fate, Job, Run

_FIRST_NUMBER: Mapping[Cluster, int] = {Cluster.PRODUCTION: 358_788, Cluster.PLAYBACK: 500_015}
_RUN_KEYS = ("cosmic_run", "pp_run", "pp_run", "pp_run", "pp_run_stage1", "hi_run", "commissioning_run")
# Not every path holds a CMSSW version.
_RELEASES = (
    "CMSSW_12_4_8_39145_39162_39341",
    "CMSSW_12_4_9",
    "CMSSW_12_4_9_patch1",
    "CMSSW_12_5_0_pre3_39145",
    "nightly",
)
_RELEASE_WEIGHTS = (5, 4, 3, 3, 1)

# How likely it is that a run has a job of each fate.
_FATES: Mapping[Fate, float] = {
    Fate.HANGS: 0.35,
    Fate.STANDS_STILL: 0.35,
    Fate.VANISHES: 0.35,
}
_SIGNALLED = 0.6
_EXCEPTED = 0.6
_SIGNALS = (-11, -6, -1)
_EXCEPTIONS = (65, 66, 84, 90)
_PIDS = range(1_000, 100_000)


@dataclass(frozen=True, slots=True)
class PlaybackConfiguration:
    """What the playback cluster's simulator is told to play: `get_simulator_config`, `start_playback_run`."""

    source_run: str = "run256936"
    run_key: str = "pp_run"
    number_of_ls: int = 60


class Planner:
    """Plans one cluster's runs, one after the other; the same from the same seed."""

    def __init__(
        self,
        cluster: Cluster,
        machines: Sequence[str],
        clients: Sequence[Client],
        seed: int,
        run_length: tuple[int, int],
    ) -> None:
        self.cluster = cluster
        self._clients = clients
        self._seed = seed
        self._run_length = run_length
        self._next_number = _FIRST_NUMBER[cluster]
        self._later_jobs = 0
        self.hosts = tuple(machines)
        self.builder_unit = machines[0]
        # A cluster of a single machine does everything on it.
        self._filter_units = tuple(machines[1:]) or (machines[0],)

    def resume(self, after: int, *, past: int) -> None:
        """Goes on as if run `after` were over: the next `past` runs lead up to it, the one behind is new."""
        numbers = deque([self._next_number], maxlen=past + 1)
        while numbers[-1] <= after:
            numbers.append(self._following(numbers[-1]))
        self._next_number = numbers[0]

    def clients_of(self, host: str) -> list[Client]:
        """The clients that a machine runs; none on a builder unit that has filter units."""
        return [client for client in self._clients if self._host_of(client) == host]

    def client(self, name: str) -> Client:
        """The client of a name or tag. Raises LookupError if the cluster has none."""
        for client in self._clients:
            if name in (client.name, client.tag):
                return client
        raise LookupError(f"there is no client {name} in {self.cluster}")

    def run(
        self, started_at: float, lumisection_s: float, playback: PlaybackConfiguration | None = None
    ) -> Run:
        """The next run; in the playback cluster as the simulator's configuration says."""
        number = self._next_number
        self._next_number = self._following(number)
        rng = self._rng("run", number)
        [release] = rng.choices(_RELEASES, _RELEASE_WEIGHTS)
        run = Run(
            self.cluster,
            number,
            rng.choice(_RUN_KEYS),
            f"{self.cluster}_0909_{release}",
            self._seed,
            started_at,
            rng.randint(*self._run_length),
            lumisection_s,
        )
        if playback is None:
            return run
        return replace(
            run,
            run_key=playback.run_key,
            lumisections=playback.number_of_ls,
            source_run=int(playback.source_run.removeprefix("run")),
        )

    def jobs(self, run: Run) -> list[Job]:
        """The jobs of a run, one of each client, and what becomes of them."""
        rng = self._rng("jobs", run.number)
        pids = rng.sample(_PIDS, len(self._clients))
        jobs = [
            Job(run, client, self._host_of(client), pid, run.started_at + rng.random() * 0.2)
            for client, pid in zip(self._clients, pids, strict=True)
        ]
        unlucky = rng.sample(range(len(jobs)), len(jobs))
        for index, (fate, exit_code, is_restarted) in zip(unlucky, _misfortunes(rng), strict=False):
            struck_at = run.started_at + rng.uniform(0.1, 0.8) * run.lumisections * run.lumisection_s
            jobs[index] = replace(
                jobs[index],
                fate=fate,
                exit_code=exit_code,
                struck_at=struck_at,
                is_restarted_after=is_restarted,
            )
        return jobs

    def another_job(self, run: Run, client: Client, at: float) -> Job:
        """A later job of a client in a run: it goes on where the run is at that time."""
        self._later_jobs += 1
        pid = self._rng("later", self._later_jobs).choice(_PIDS)
        lumisection = max(1, run.lumisection(at))
        return Job(run, client, self._host_of(client), pid, at, first_lumisection=lumisection)

    def _following(self, number: int) -> int:
        """The number of the run after a run; in production not every run is one with DQM."""
        if self.cluster is Cluster.PLAYBACK:
            return number + 1
        return number + self._rng("following", number).randint(1, 4)

    def _host_of(self, client: Client) -> str:
        return self._filter_units[self._clients.index(client) % len(self._filter_units)]

    def _rng(self, *key: object) -> random.Random:
        return random.Random(f"{self._seed}/{self.cluster}/{key}")  # noqa: S311 - a simulation


def _misfortunes(rng: random.Random) -> Iterable[tuple[Fate, int, bool]]:
    """Fate, exit code, and whether the client is started anew."""
    if rng.random() < _SIGNALLED:
        yield Fate.CRASHES, rng.choice(_SIGNALS), False
    if rng.random() < _EXCEPTED:
        yield Fate.CRASHES, rng.choice(_EXCEPTIONS), True
    for fate, probability in _FATES.items():
        if rng.random() < probability:
            yield fate, 0, False
