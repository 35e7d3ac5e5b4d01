"""A machine met for the first time, with a great many headers: memory, progress, interruptions.

Then the same machine so slow that the answer to all headers misses the gateway's 5 s.
"""

import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

import db
from benchmarks import cli, proc_usage, results
from benchmarks.environment import FILTER_UNIT, Source, Stage, settings_of, stage
from benchmarks.results import Figure
from dqmsquare_cfg import Cluster
from runtime.supervisor import Process

# Of a header, so that the answer to 200,000 takes 10 s.
_SLOW_HEADER_MS = 0.05
_PROGRESS = re.compile(r"mirroring host=\S+ (headers=.*)")
_MISSING = re.compile(r'revisions_unavailable host=\S+ reason="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Met:
    """What a grabber did with the machine while it was let."""

    what: str
    seconds: float
    first_row_s: float | None
    rows: int
    peak_mb: float
    peak_with_helpers_mb: float
    ended_with: int | None
    told: str

    def row(self) -> dict[str, Figure]:
        """As it is told."""
        return {
            "": self.what,
            "seconds": self.seconds,
            "first row after s": self.first_row_s,
            "rows": self.rows,
            "peak MB": self.peak_mb,
            "with helpers": self.peak_with_helpers_mb,
            "exit status": self.ended_with,
            "told": self.told,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Meets the machine, interrupts, goes on, and meets it again when its answer is too long."""
    parser = cli.parser("initial_sync", __doc__)
    parser.add_argument("--headers", type=cli.count, default=200_000, help="how many the machine has")
    parser.add_argument(
        "--seconds", type=cli.duration, default=20, help="how long the grabber is let each time"
    )
    parser.add_argument("--whole", action="store_true", help="go on to the last document")
    chosen = parser.parse_args(arguments)
    with stage() as made:
        source = made.source()
        source.tell("fill", machine=FILTER_UNIT, count=chosen.headers, small=True)
        met = [
            _meet(made, source, "from nothing, then SIGTERM", chosen.seconds, by=signal.SIGTERM),
            _meet(made, source, "going on, then SIGKILL", chosen.seconds, by=signal.SIGKILL),
            _meet(made, source, "going on", chosen.seconds, of=chosen.headers if chosen.whole else None),
        ]
        made.empty()
        source.tell("add-fault", kind="header-cost", amount=_SLOW_HEADER_MS)
        met.append(_meet(made, source, "from nothing, headers too slow", 2 * chosen.seconds))
    results.tell("first_sync", [one.row() for one in met], notes=[f"{chosen.headers:,} headers."])


def _meet(
    made: Stage,
    source: Source,
    what: str,
    seconds: float,
    *,
    by: signal.Signals = signal.SIGTERM,
    of: int | None = None,
) -> Met:
    """Lets a grabber mirror for so long, or until it has so many rows, and ends it."""
    grabber = made.start("grabber", ["grabber.py", "production"], made.environment(source))
    began_s = time.monotonic()
    with _counting(made, source) as count:
        before, first_row_s = count(), None
        peak = peak_with_helpers = 0.0
        while not grabber.wait(0.5):
            peak_with_helpers = max(peak_with_helpers, proc_usage.rss_mb(grabber.pid))
            peak = max(peak, proc_usage.peak_mb(grabber.pid))
            rows, passed_s = count(), time.monotonic() - began_s
            if rows > before and first_row_s is None:
                first_row_s = passed_s
            if (rows == of) if of else (passed_s > seconds):
                break
        ended_with = _end(grabber, by)
        return Met(
            what,
            time.monotonic() - began_s,
            first_row_s,
            count(),
            peak,
            peak_with_helpers,
            ended_with,
            _told(grabber),
        )


@contextmanager
def _counting(made: Stage, source: Source) -> Iterator[Callable[[], int]]:
    engine = db.engine(settings_of(made.environment(source)), Cluster.PRODUCTION, "benchmark")
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield lambda: connection.scalar(sa.select(sa.func.count()).select_from(db.jobs)) or 0
    finally:
        engine.dispose()


def _end(grabber: Process, by: signal.Signals) -> int | None:
    grabber.send_signal(by)
    grabber.wait(10)
    return grabber.exit_status


def _told(grabber: Process) -> str:
    """The last that the log tells of progress, and what can't be had."""
    lines = "\n".join(grabber.tail(1000))
    missing, progress = _MISSING.findall(lines), _PROGRESS.findall(lines)
    return "; ".join([*missing, *progress[-1:]])


if __name__ == "__main__":
    main()
