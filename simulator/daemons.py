"""The daemons of a machine, HLTD and DQM² itself: restarts, log files, client switches and machine stats."""

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from simulator import documents
from simulator.fake_secrets import FakeSecrets
from simulator.machines import Machine
from simulator.runs import fraction
from simulator.scheduler import EventScheduler

_PID_MODULO = 32_000
_LOG_LINES = {
    "hltd": (
        "INFO - run {run}: found configuration, starting client {pid}",
        "INFO - resource summary: 12 idle, 31 used, 0 broken",
        "WARNING - process {pid} of run {run} quit with 1 core in use",
        "DEBUG - heartbeat of {host}.cms to 10.176.28.{unit}:9000 took {milliseconds} ms",
    ),
    "anelastic": (
        "INFO - run{run}_ls{unit:04d}: merged 12 of 12 files in {milliseconds} ms",
        "WARNING - run{run}_ls{unit:04d}: bad event count, expected 9500",
    ),
    "fff_dqmtools": (
        "fff_web - INFO - WebSocket connected: ['10.176.60.{unit}', {pid}]",
        "fff_deleter - INFO - folder /fff/ramdisk/run{run}: {milliseconds} files",
        "fff_cluster - WARNING - {host}.cms answered after {milliseconds} ms",
    ),
}
_SECONDS_PER_LINE = 7.0
# Share of the log lines that are followed by a line with a secret.
_SECRET_SHARE = 0.02

_STATS_INTERVAL_S = 75.0
_DISKSPACE_INTERVAL_S = 30.0
_GIB = 1 << 30
_MEMORY_BYTES = 63 * _GIB
_DISK_BYTES = 240 * _GIB


class DaemonKind(StrEnum):
    """The daemons that control commands restart."""

    HLTD = "hltd"
    FFF = "fff"


_LOG_FILES = {DaemonKind.HLTD: ("hltd", "anelastic"), DaemonKind.FFF: ("fff_dqmtools",)}


@dataclass(slots=True)
class Daemon:
    """A daemon on a machine. `starts`: its start times in unix seconds, newest last."""

    kind: DaemonKind
    host: str
    starts: list[float] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The process id, which changes with each start."""
        return 3_000 + (sum(self.host.encode()) * 7 + 911 * len(self.starts)) % _PID_MODULO

    def log(self) -> list[str]:
        """The log lines about its starts."""
        return [
            f"{_log_time(at)} {self.kind} - INFO - Service started on {self.host}.cms\n" for at in self.starts
        ]


class Daemons:
    """The daemons of all machines."""

    def __init__(self, hosts: Iterable[str], started_at: float) -> None:
        self._daemons = {
            (kind, host): Daemon(kind, host, [started_at]) for host in hosts for kind in DaemonKind
        }

    def get(self, kind: DaemonKind, host: str) -> Daemon:
        """A machine's daemon. Raises KeyError for an unknown host."""
        return self._daemons[kind, host]


class DaemonLogs:
    """Complete log files of at least `min_characters` each; the newest lines are about daemon starts."""

    def __init__(self, daemons: Daemons, secrets: FakeSecrets) -> None:
        self.min_characters = 40_000
        self._daemons = daemons
        self._secrets = secrets

    def files(self, kind: DaemonKind, host: str, now: float) -> list[str]:
        """The contents of a daemon's log files. Raises KeyError for an unknown host."""
        started = "".join(self._daemons.get(kind, host).log())
        return ["".join(self._lines(name, host, now)) + started for name in _LOG_FILES[kind]]

    def _lines(self, name: str, host: str, now: float) -> Iterator[str]:
        rng = random.Random(f"{self._secrets.seed}/{host}/{name}")  # noqa: S311 - a simulation
        at = now - _SECONDS_PER_LINE * self.min_characters / 60
        written = 0
        while written < self.min_characters:
            text = rng.choice(_LOG_LINES[name]).format(
                run=rng.randint(358_000, 358_999),
                pid=rng.randint(1_000, 99_999),
                host=host,
                unit=rng.randint(1, 250),
                milliseconds=rng.randint(1, 900),
            )
            line = f"{_log_time(at)}: {text}\n"
            if rng.random() < _SECRET_SHARE:
                line += "".join(self._secrets.log_lines(rng))
            yield line
            written += len(line)
            at += _SECONDS_PER_LINE


def _log_time(at: float) -> str:
    """A time in UTC as Python's logging writes it."""
    milliseconds = int(at % 1 * 1000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(at))},{milliseconds:03d}"


class ClientSwitches:
    """On/off switches of each machine's clients, by configuration file, for production and playback runs.

    A client that is switched off is left out of the next run. All are on at first.
    """

    def __init__(self, clients: Mapping[str, Iterable[str]]) -> None:
        self._switches = {
            (host, is_playback): dict.fromkeys(config_files, True)
            for host, config_files in clients.items()
            for is_playback in (False, True)
        }

    def of(self, host: str, *, is_playback: bool) -> dict[str, bool]:
        """A machine's switches. Raises KeyError if there are none."""
        return dict(self._switches[host, is_playback])

    def is_on(self, host: str, config_file: str, *, is_playback: bool) -> bool:
        """Whether a client is switched on. Raises KeyError if the machine has no such client."""
        return self._switches[host, is_playback][config_file]

    def set(self, host: str, config_file: str, *, is_playback: bool, on: bool) -> None:
        """Switch a client on or off. Raises KeyError if the machine has no such client."""
        if config_file not in self._switches[host, is_playback]:
            raise KeyError(config_file)
        self._switches[host, is_playback][config_file] = on


class MachineStatsReporter:
    """Periodic `dqm-stats` and `dqm-diskspace` documents, timed by each machine's own clock.

    Intervals are those of the real daemons divided by `speed`.
    """

    def __init__(self, scheduler: EventScheduler, daemons: Daemons, speed: float) -> None:
        self._scheduler = scheduler
        self._daemons = daemons
        self._speed = speed

    def start(self, machines: Iterable[Machine], builder_units: Iterable[Machine], at: float) -> None:
        """Upload the first documents now and schedule the next ones."""
        for machine in machines:
            self._scheduler.repeat(at, _STATS_INTERVAL_S / self._speed, partial(self.upload_stats, machine))
        for machine in builder_units:
            self._scheduler.repeat(
                at, _DISKSPACE_INTERVAL_S / self._speed, partial(_upload_diskspace, machine)
            )

    def upload_stats(self, machine: Machine, at: float) -> None:
        """Upload the memory usage of a machine with the logs of its DQM² daemon."""
        daemon = self._daemons.get(DaemonKind.FFF, machine.name)
        machine.upload(
            documents.stats_document(
                host=machine.name,
                timestamp=at + machine.clock_offset_s,
                total_bytes=_MEMORY_BYTES,
                free_bytes=int(_MEMORY_BYTES * (0.02 + 0.03 * fraction("free", machine.name, at))),
                available_bytes=int(_MEMORY_BYTES * (0.45 + 0.2 * fraction("available", machine.name, at))),
                loggers={
                    "root": daemon.log(),
                    "fff_web": [f"WebSocket connected: ['{machine.name}.cms', 53312]\n"],
                },
                pid=daemon.pid,
                sequence=int((at - daemon.starts[-1]) * self._speed / _STATS_INTERVAL_S),
            )
        )


def _upload_diskspace(machine: Machine, at: float) -> None:
    """Upload the usage of the disk that receives the run's files."""
    free = 0.4 + 0.25 * fraction("disk", machine.name, at)
    machine.upload(
        documents.diskspace_document(
            host=machine.name,
            timestamp=at + machine.clock_offset_s,
            total_bytes=_DISK_BYTES,
            free_bytes=int(_DISK_BYTES * free),
            file_count=int(20_000 * (1 - free)),
        )
    )
