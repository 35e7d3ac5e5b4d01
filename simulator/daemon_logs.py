"""The log files of a machine's daemons, whole, as the log commands return them."""

import random
from collections.abc import Iterator

from simulator.daemons import Service, Services, stamp
from simulator.fake_secrets import Sensitive

_FILES = {Service.HLTD: ("hltd", "anelastic"), Service.FFF: ("fff_dqmtools",)}
_SENTENCES = {
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
_SECONDS_A_LINE = 7.0
_GIVES_AWAY = 0.02


class DaemonLogs:
    """Log files of at least `least_characters` each; the starts of the daemon are the newest lines."""

    def __init__(self, services: Services, sensitive: Sensitive) -> None:
        self.least_characters = 40_000
        self._services = services
        self._sensitive = sensitive

    def files(self, service: Service, host: str, now: float) -> list[str]:
        """A daemon's files. Raises KeyError for another host."""
        daemon = self._services.daemon(service, host)
        return ["".join(self._lines(name, host, now)) + "".join(daemon.log()) for name in _FILES[service]]

    def _lines(self, name: str, host: str, now: float) -> Iterator[str]:
        rng = random.Random(f"{self._sensitive.seed}/{host}/{name}")  # noqa: S311 - a simulation
        at = now - _SECONDS_A_LINE * self.least_characters / 60
        written = 0
        while written < self.least_characters:
            sentence = rng.choice(_SENTENCES[name]).format(
                run=rng.randint(358_000, 358_999),
                pid=rng.randint(1_000, 99_999),
                host=host,
                unit=rng.randint(1, 250),
                milliseconds=rng.randint(1, 900),
            )
            line = f"{stamp(at)}: {sentence}\n"
            if rng.random() < _GIVES_AWAY:
                line += "".join(self._sensitive.lines(rng))
            yield line
            written += len(line)
            at += _SECONDS_A_LINE
