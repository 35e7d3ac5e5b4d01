"""Plans of runs and their jobs, drawn from a seed.

The state of a run or a job at any time follows from its plan alone, so its documents can be built on request
and are the same every time.
"""

import hashlib
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from dqm2.records import LUMISECTION_S
from dqmsquare_cfg import Cluster
from simulator.clients import Client

# Exit code of a job that HLTD kills after the run.
KILLED_EXIT_CODE = -9
# In lumisections after the run's end: when a job finishes, and when HLTD kills those that hang.
_FINISHES_AFTER = 0.8
_KILLED_AFTER = 2.0
_REPORT_INTERVAL_S = 30.0
# Tolerance for times that are computed as multiples of a period.
_ROUNDING = 1e-6

_FIRST_NUMBER: Mapping[Cluster, int] = {Cluster.PRODUCTION: 358_788, Cluster.PLAYBACK: 500_015}
_RUN_KEYS = ("cosmic_run", "pp_run", "pp_run", "pp_run", "pp_run_stage1", "hi_run", "commissioning_run")
# With weights; not every installation path contains a CMSSW version.
_RELEASES = {
    "CMSSW_12_4_8_39145_39162_39341": 5,
    "CMSSW_12_4_9": 4,
    "CMSSW_12_4_9_patch1": 3,
    "CMSSW_12_5_0_pre3_39145": 3,
    "nightly": 1,
}
# Probability that a run has a job that is killed by a signal, ends with an exception, and so on.
_SIGNAL_PROBABILITY = 0.6
_EXCEPTION_PROBABILITY = 0.6
_FAILURE_PROBABILITY = 0.35
_SIGNALS = (-11, -6, -1)
_EXCEPTIONS = (65, 66, 84, 90)
_PIDS = range(1_000, 100_000)


def fraction(*key: object) -> float:
    """A pseudorandom number from 0 to below 1 that depends only on the key."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


@dataclass(frozen=True, slots=True)
class Run:
    """A planned run.

    `lumisection_s`: duration of its lumisections, shorter in a simulation that is sped up. `source_run`: the
    run that the playback cluster plays back.
    """

    cluster: Cluster
    number: int
    run_key: str
    installation: str
    seed: int
    started_at: float
    lumisections: int
    lumisection_s: float
    source_run: int | None = None

    @property
    def speed(self) -> float:
        """Ratio of the simulated speed to that of data taking."""
        return LUMISECTION_S / self.lumisection_s

    @property
    def ended_at(self) -> float:
        """End of the last lumisection, unix seconds."""
        return self.started_at + self.lumisections * self.lumisection_s

    def lumisection(self, at: float) -> int:
        """The current lumisection; the last one after the end, 0 before the start."""
        return 0 if at < self.started_at else min(self.lumisections, 1 + self.closed(at))

    def closed(self, at: float) -> int:
        """Number of lumisections that have ended."""
        passed = math.floor((at - self.started_at) / self.lumisection_s + _ROUNDING)
        return max(0, min(self.lumisections, passed))

    def closed_at(self, lumisection: int) -> float:
        """End of a lumisection, unix seconds."""
        return self.started_at + lumisection * self.lumisection_s


@dataclass(frozen=True, slots=True)
class StoppedRun:
    """The last run of an earlier simulator, which stopped with it; times in unix seconds."""

    number: int
    started_at: float
    stopped_at: float


class JobOutcome(Enum):
    """End of a job."""

    FINISHED = auto()
    CRASHED = auto()
    # Silent until it is killed after the run.
    HUNG = auto()
    # Reports the same lumisection until it is killed after the run.
    STALLED = auto()
    # Killed together with its monitor: silent forever, without an exit code.
    VANISHED = auto()


@dataclass(frozen=True, slots=True)
class Job:
    """A planned job.

    `outcome_at`: when it crashes, hangs and so on; `None` for a job that finishes with its run.
    `first_lumisection`: above 1 for a restarted job, which skips the earlier ones. `is_restarted`: its client
    is restarted afterwards.
    """

    run: Run
    client: Client
    host: str
    pid: int
    started_at: float
    outcome: JobOutcome = JobOutcome.FINISHED
    outcome_at: float | None = None
    exit_code: int = 0
    first_lumisection: int = 1
    is_restarted: bool = False

    @property
    def report_interval_s(self) -> float:
        """Time between two reports."""
        return _REPORT_INTERVAL_S / self.run.speed

    @property
    def ended_at(self) -> float:
        """End of the process, unix seconds; infinite if it is never reported."""
        match self.outcome:
            case JobOutcome.FINISHED:
                return self.outcome_at if self.outcome_at is not None else self._finishes_at
            case JobOutcome.CRASHED if self.outcome_at is not None:
                return min(self.outcome_at, self._finishes_at)
            case JobOutcome.VANISHED:
                return math.inf
        return self.run.ended_at + _KILLED_AFTER * self.run.lumisection_s

    def in_shortened_run(self, run: Run) -> "Job":
        """The job in its run cut short: an outcome that was planned for later does not happen."""
        if self.outcome_at is None or self.outcome_at <= run.ended_at:
            return replace(self, run=run)
        finished = JobOutcome.FINISHED
        return replace(self, run=run, outcome=finished, outcome_at=None, exit_code=0, is_restarted=False)

    def has_ended(self, at: float) -> bool:
        """Whether the process has ended and its monitor knows."""
        return at >= self.ended_at

    def is_silent(self, at: float) -> bool:
        """Whether the job hangs or has vanished, and reports nothing."""
        if self.outcome not in (JobOutcome.HUNG, JobOutcome.VANISHED) or self.outcome_at is None:
            return False
        return self.outcome_at <= at < self.ended_at

    def exit_code_at(self, at: float) -> int | None:
        """The exit code, `None` while the job runs."""
        if not self.has_ended(at):
            return None
        is_killed = self.outcome in (JobOutcome.HUNG, JobOutcome.STALLED)
        return KILLED_EXIT_CODE if is_killed else self.exit_code

    def lumisection(self, at: float) -> int:
        """The newest lumisection that the job has processed, 0 if there is none."""
        if self.outcome is not JobOutcome.FINISHED and self.outcome_at is not None:
            at = min(at, self.outcome_at)
        seen = int((at - self.run.started_at - self._lag * self.run.lumisection_s) // self.run.lumisection_s)
        return max(self.first_lumisection - 1, min(seen, self.run.lumisections))

    def seen_at(self, lumisection: int) -> float:
        """Time at which the job has processed a lumisection, unix seconds."""
        return self.run.started_at + (lumisection + self._lag) * self.run.lumisection_s

    @property
    def first_report_at(self) -> float:
        """Time of the first report."""
        return self.started_at + (0.02 + 0.9 * self.fraction("phase")) * self.report_interval_s

    def report_after(self, at: float) -> float:
        """Time of the next report: the next periodic one, or the one at the end."""
        reports = math.floor((at - self.first_report_at) / self.report_interval_s + _ROUNDING) + 1
        return min(self.first_report_at + max(0, reports) * self.report_interval_s, self.ended_at)

    def reports_until(self, at: float) -> list[float]:
        """Times of the periodic reports before `at`, and of the report at `at`."""
        first, interval_s = self.first_report_at, self.report_interval_s
        count = max(0, math.ceil((at - first) / interval_s - _ROUNDING))
        return [*(first + number * interval_s for number in range(count)), at]

    def last_report_at(self) -> float | None:
        """Time of the last report, `None` if there is none at all."""
        if not math.isinf(self.ended_at) or self.outcome_at is None:
            return self.ended_at
        return next(reversed(self.reports_until(self.outcome_at)[:-1]), None)

    def fraction(self, *key: object) -> float:
        """A pseudorandom number from 0 to below 1 that depends only on the job and the key."""
        return fraction(self.run.seed, self.run.number, self.pid, *key)

    @property
    def _lag(self) -> float:
        """Delay with which the job processes lumisections, in lumisections."""
        return 0.15 + 0.6 * self.fraction("behind")

    @property
    def _finishes_at(self) -> float:
        after = _FINISHES_AFTER + 0.5 * self.fraction("settles")
        return self.run.ended_at + after * self.run.lumisection_s


@dataclass(frozen=True, slots=True)
class PlaybackConfig:
    """Configuration of the playback cluster's simulator (`get_simulator_config`, `start_playback_run`)."""

    source_run: str = "run256936"
    run_key: str = "pp_run"
    number_of_ls: int = 60


class RunPlanner:
    """Plans the consecutive runs of a cluster; the same runs for the same seed."""

    def __init__(
        self,
        cluster: Cluster,
        machines: Sequence[str],
        clients: Sequence[Client],
        seed: int,
        run_length: tuple[int, int],
    ) -> None:
        self.cluster = cluster
        self.hosts = tuple(machines)
        self._clients = clients
        self._seed = seed
        self._run_length = run_length
        self._next_number = _FIRST_NUMBER[cluster]
        self._extra_jobs: Counter[tuple[int, str]] = Counter()
        # Jobs run on the builder unit if it is the only machine.
        self._filter_units = self.hosts[1:] or self.hosts

    def resume(self, number: int) -> None:
        """Let the next run be the first one whose number is `number` or higher."""
        while self._next_number < number:
            self._next_number = self._following(self._next_number)

    def clients_of(self, host: str) -> list[Client]:
        """The clients that run on a machine; none on a builder unit with filter units."""
        return [client for client in self._clients if self._host_of(client) == host]

    def client(self, name: str) -> Client:
        """The client with a name or tag. Raises LookupError if the cluster has none."""
        for client in self._clients:
            if name in (client.name, client.tag):
                return client
        raise LookupError(f"there is no client {name} in {self.cluster}")

    def plan_run(
        self, started_at: float, lumisection_s: float, playback: PlaybackConfig | None = None
    ) -> Run:
        """The next run; in the playback cluster with the configuration of its simulator."""
        number = self._next_number
        self._next_number = self._following(number)
        rng = self._rng("run", number)
        [release] = rng.choices(list(_RELEASES), list(_RELEASES.values()))
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

    def plan_jobs(self, run: Run) -> list[Job]:
        """The jobs of a run with their outcomes, one job per client."""
        rng = self._rng("jobs", run.number)
        pids = rng.sample(_PIDS, len(self._clients))
        jobs = [
            Job(run, client, self._host_of(client), pid, run.started_at + rng.random() * 0.2)
            for client, pid in zip(self._clients, pids, strict=True)
        ]
        unlucky = rng.sample(range(len(jobs)), len(jobs))
        for index, (outcome, exit_code, is_restarted) in zip(unlucky, _failures(rng), strict=False):
            jobs[index] = replace(
                jobs[index],
                outcome=outcome,
                exit_code=exit_code,
                outcome_at=run.started_at + rng.uniform(0.1, 0.8) * run.lumisections * run.lumisection_s,
                is_restarted=is_restarted,
            )
        return jobs

    def plan_extra_job(self, run: Run, client: Client, at: float) -> Job:
        """Another job of a client in a run, which starts with the current lumisection."""
        key = (run.number, client.tag)
        self._extra_jobs[key] += 1
        pid = self._rng("later", *key, self._extra_jobs[key]).choice(_PIDS)
        lumisection = max(1, run.lumisection(at))
        return Job(run, client, self._host_of(client), pid, at, first_lumisection=lumisection)

    def _following(self, number: int) -> int:
        """The number of the next run; production has runs without DQM in between."""
        if self.cluster is Cluster.PLAYBACK:
            return number + 1
        return number + self._rng("following", number).randint(1, 4)

    def _host_of(self, client: Client) -> str:
        return self._filter_units[self._clients.index(client) % len(self._filter_units)]

    def _rng(self, *key: object) -> random.Random:
        return random.Random(f"{self._seed}/{self.cluster}/{key}")  # noqa: S311 - a simulation


def _failures(rng: random.Random) -> Iterable[tuple[JobOutcome, int, bool]]:
    """Outcome, exit code, and whether the client is restarted, for each job that fails in a run."""
    if rng.random() < _SIGNAL_PROBABILITY:
        yield JobOutcome.CRASHED, rng.choice(_SIGNALS), False
    if rng.random() < _EXCEPTION_PROBABILITY:
        yield JobOutcome.CRASHED, rng.choice(_EXCEPTIONS), True
    for outcome in (JobOutcome.HUNG, JobOutcome.STALLED, JobOutcome.VANISHED):
        if rng.random() < _FAILURE_PROBABILITY:
            yield outcome, 0, False
