"""The daemons of a machine, HLTD and DQM² itself: since when they run, and what their logs say."""

import time
from dataclasses import dataclass, field
from enum import StrEnum

_PID_MODULO = 32_000


class Service(StrEnum):
    """The daemons that control commands restart."""

    HLTD = "hltd"
    FFF = "fff"


@dataclass(slots=True)
class Daemon:
    """A daemon on a machine. `starts` are unix seconds, the newest last."""

    service: Service
    host: str
    starts: list[float] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Another one after each start."""
        return 3_000 + (sum(self.host.encode()) * 7 + 911 * len(self.starts)) % _PID_MODULO

    def log(self) -> list[str]:
        """The lines about its starts."""
        return [
            f"{stamp(at)} {self.service} - INFO - Service started on {self.host}.cms\n" for at in self.starts
        ]


def stamp(at: float) -> str:
    """A time as Python's logging writes it, UTC."""
    milliseconds = int(at % 1 * 1000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(at))},{milliseconds:03d}"


class Services:
    """The daemons of every machine."""

    def __init__(self, hosts: tuple[str, ...], started_at: float) -> None:
        self._daemons = {
            (host, service): Daemon(service, host, [started_at]) for host in hosts for service in Service
        }

    def daemon(self, service: Service, host: str) -> Daemon:
        """A machine's daemon. Raises KeyError for another host."""
        return self._daemons[host, service]
