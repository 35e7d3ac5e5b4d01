"""Runs and jobs as they were planned: what is true of them at any moment follows from the plan alone.

So a document is written out only when somebody asks for it, and always the same.
"""

import hashlib
import math
from dataclasses import dataclass
from enum import Enum, auto

from dqm2.records import LUMISECTION_S
from dqmsquare_cfg import Cluster
from simulator.clients import Client

# What HLTD kills, once the run is over, has this exit code.
KILLED = -9
# A job is done with its last lumisection so many lumisections after the run's end, and what hangs is killed.
_SETTLES_AFTER = 0.8
_KILLED_AFTER = 2.0
_REPORT_EVERY_S = 30.0
# A moment that was computed as a multiple of a period counts as reached.
_ROUNDING = 1e-6


def fraction(*key: object) -> float:
    """A number from 0 to below 1 that depends on the key alone."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


@dataclass(frozen=True, slots=True)
class Run:
    """A run as planned.

    `lumisection_s` is how long a lumisection takes here: a faster world has shorter ones. `source_run` is
    the run that is played back, in the playback cluster.
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
        """How much faster than data taking this run goes."""
        return LUMISECTION_S / self.lumisection_s

    @property
    def ended_at(self) -> float:
        """When its last lumisection is over, unix seconds."""
        return self.started_at + self.lumisections * self.lumisection_s

    def lumisection(self, at: float) -> int:
        """The lumisection that data taking is in; the last one after the end, 0 before the start."""
        return 0 if at < self.started_at else min(self.lumisections, 1 + self.closed(at))

    def closed(self, at: float) -> int:
        """How many lumisections are over."""
        passed = math.floor((at - self.started_at) / self.lumisection_s + _ROUNDING)
        return max(0, min(self.lumisections, passed))

    def closed_at(self, lumisection: int) -> float:
        """When a lumisection is over, unix seconds."""
        return self.started_at + lumisection * self.lumisection_s


class Fate(Enum):
    """How a job ends."""

    FINISHES = auto()
    CRASHES = auto()
    # Silent from then on; killed after the run.
    HANGS = auto()
    # Reports, but its lumisection stands still; killed after the run.
    STANDS_STILL = auto()
    # Killed together with its monitor: silent for ever, and no exit code.
    VANISHES = auto()


@dataclass(frozen=True, slots=True)
class Job:
    """A job as planned. `struck_at`: when its fate strikes; `None` for one that lives through its run.

    `first_lumisection` is later than 1 for a job that was restarted: it skips what it missed.
    """

    run: Run
    client: Client
    host: str
    pid: int
    started_at: float
    fate: Fate = Fate.FINISHES
    struck_at: float | None = None
    exit_code: int = 0
    first_lumisection: int = 1
    is_restarted_after: bool = False

    @property
    def report_every_s(self) -> float:
        """The time between two reports."""
        return _REPORT_EVERY_S / self.run.speed

    @property
    def ended_at(self) -> float:
        """When the process is gone, unix seconds; infinite if nobody will ever know."""
        struck_at = self.struck_at
        match self.fate:
            case Fate.FINISHES:
                return struck_at if struck_at is not None else self._settled_at
            case Fate.CRASHES if struck_at is not None:
                return min(struck_at, self._settled_at)
            case Fate.VANISHES:
                return math.inf
        return self.run.ended_at + _KILLED_AFTER * self.run.lumisection_s

    def has_ended(self, at: float) -> bool:
        """Whether the process is gone, and its monitor knows."""
        return at >= self.ended_at

    def is_silent(self, at: float) -> bool:
        """Whether nothing more is reported for now."""
        if self.fate not in (Fate.HANGS, Fate.VANISHES) or self.struck_at is None:
            return False
        return self.struck_at <= at < self.ended_at

    def exit_code_at(self, at: float) -> int | None:
        """The exit code, `None` while the job runs."""
        if not self.has_ended(at):
            return None
        return KILLED if self.fate in (Fate.HANGS, Fate.STANDS_STILL) else self.exit_code

    def lumisection(self, at: float) -> int:
        """The newest lumisection whose end the job has seen, 0 for none."""
        if self.fate is not Fate.FINISHES and self.struck_at is not None:
            at = min(at, self.struck_at)
        behind_s = (0.15 + 0.6 * self.fraction("behind")) * self.run.lumisection_s
        seen = int((at - self.run.started_at - behind_s) // self.run.lumisection_s)
        return max(self.first_lumisection - 1, min(seen, self.run.lumisections))

    def seen_at(self, lumisection: int) -> float:
        """When the job saw the end of a lumisection, unix seconds."""
        behind = 0.15 + 0.6 * self.fraction("behind")
        return self.run.started_at + (lumisection + behind) * self.run.lumisection_s

    @property
    def first_report_at(self) -> float:
        """When the job reports for the first time."""
        return self.started_at + (0.02 + 0.9 * self.fraction("phase")) * self.report_every_s

    def report_after(self, at: float) -> float:
        """When the job reports next: in its rhythm, or at its end."""
        first = self.first_report_at
        reports = math.floor((at - first) / self.report_every_s + _ROUNDING) + 1
        return min(first + max(0, reports) * self.report_every_s, self.ended_at)

    def reports_until(self, at: float) -> list[float]:
        """When the job has reported, its last report at `at` included."""
        first, every = self.first_report_at, self.report_every_s
        count = max(0, math.ceil((at - first) / every - _ROUNDING))
        return [*(first + number * every for number in range(count)), at]

    def last_report_at(self) -> float | None:
        """When the job reports for the last time, `None` if it never does."""
        if not math.isinf(self.ended_at) or self.struck_at is None:
            return self.ended_at
        return next(reversed(self.reports_until(self.struck_at)[:-1]), None)

    def fraction(self, *key: object) -> float:
        """A number from 0 to below 1 that depends on the job and the key alone."""
        return fraction(self.run.seed, self.run.number, self.pid, *key)

    @property
    def _settled_at(self) -> float:
        later = _SETTLES_AFTER + 0.5 * self.fraction("settles")
        return self.run.ended_at + later * self.run.lumisection_s
