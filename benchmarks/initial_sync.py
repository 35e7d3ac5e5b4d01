"""First contact with a machine that has a great many headers: memory, progress and interruptions.

Then the same with a machine so slow that its response to all headers misses the gateway's 5 s.
"""

import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

import db
from benchmarks import cli, proc_usage
from benchmarks.cli import Figure
from benchmarks.environment import FILTER_UNIT, BenchmarkEnvironment, SimulatedDqm2, benchmark_environment
from dqmsquare_cfg import Cluster
from runtime.supervisor import Process

# Per header: the response to 200,000 then takes 10 s.
_SLOW_HEADER_MS = 0.05
_PROGRESS = re.compile(r"sync_progress host=\S+ (headers=.*)")
_UNAVAILABLE = re.compile(r'revisions_unavailable host=\S+ reason="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Sync:
    """A grabber's work on the machine within a limited time."""

    name: str
    seconds: float
    first_row_s: float | None
    rows: int
    peak_mb: float
    peak_with_parsers_mb: float
    exit_status: int | None
    log: str

    def row(self) -> dict[str, Figure]:
        """A row of the result table."""
        return {
            "": self.name,
            "seconds": self.seconds,
            "first row after s": self.first_row_s,
            "rows": self.rows,
            "peak MB": self.peak_mb,
            "with parsers": self.peak_with_parsers_mb,
            "exit status": self.exit_status,
            "log": self.log,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Mirror with interruptions, then start over with a response that is too long."""
    parser = cli.parser("initial_sync", __doc__)
    parser.add_argument(
        "--headers", type=cli.positive_int, default=200_000, help="headers that the machine has"
    )
    parser.add_argument(
        "--seconds", type=cli.positive_number, default=20, help="duration of each of the grabber's runs"
    )
    parser.add_argument("--complete", action="store_true", help="continue to the last document")
    options = parser.parse_args(arguments)
    seconds, headers = options.seconds, options.headers
    with benchmark_environment() as environment:
        dqm2 = environment.start_dqm2()
        dqm2.admin.call("fill", machine=FILTER_UNIT, count=headers, small=True)
        syncs = [
            _sync(environment, dqm2, "from nothing, then SIGTERM", seconds, end=signal.SIGTERM),
            _sync(environment, dqm2, "continued, then SIGKILL", seconds, end=signal.SIGKILL),
            _sync(environment, dqm2, "continued", seconds, until_rows=headers if options.complete else None),
        ]
        environment.recreate_databases()
        dqm2.admin.call("add-fault", kind="header-cost", amount=_SLOW_HEADER_MS)
        syncs.append(_sync(environment, dqm2, "from nothing, headers too slow", 2 * seconds))
    cli.report("initial_sync", [sync.row() for sync in syncs], notes=[f"{headers:,} headers."])


def _sync(
    environment: BenchmarkEnvironment,
    dqm2: SimulatedDqm2,
    name: str,
    seconds: float,
    *,
    end: signal.Signals = signal.SIGTERM,
    until_rows: int | None = None,
) -> Sync:
    """Run a grabber for `seconds`, or until there are `until_rows` rows, and end it by a signal."""
    grabber = environment.start("grabber", ["grabber.py", "production"], environment.variables(dqm2))
    started_at_s = time.monotonic()
    with _row_counter(environment) as count_rows:
        before, first_row_s = count_rows(), None
        peak_mb = peak_with_parsers_mb = 0.0
        while not grabber.wait(0.5):
            peak_with_parsers_mb = max(peak_with_parsers_mb, proc_usage.rss_mb(grabber.pid))
            peak_mb = max(peak_mb, proc_usage.peak_mb(grabber.pid))
            rows, elapsed_s = count_rows(), time.monotonic() - started_at_s
            if rows > before and first_row_s is None:
                first_row_s = elapsed_s
            if (rows == until_rows) if until_rows else (elapsed_s > seconds):
                break
        exit_status = _end(grabber, end)
        return Sync(
            name,
            time.monotonic() - started_at_s,
            first_row_s,
            count_rows(),
            peak_mb,
            peak_with_parsers_mb,
            exit_status,
            _last_progress(grabber),
        )


@contextmanager
def _row_counter(environment: BenchmarkEnvironment) -> Iterator[Callable[[], int]]:
    engine = db.engine(environment.settings(), Cluster.PRODUCTION, "benchmark")
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield lambda: connection.scalar(sa.select(sa.func.count()).select_from(db.jobs)) or 0
    finally:
        engine.dispose()


def _end(grabber: Process, end: signal.Signals) -> int | None:
    grabber.send_signal(end)
    grabber.wait(10)
    return grabber.exit_status


def _last_progress(grabber: Process) -> str:
    """The last progress in the log, and the revisions that cannot be fetched."""
    lines = "\n".join(grabber.tail(1000))
    unavailable, progress = _UNAVAILABLE.findall(lines), _PROGRESS.findall(lines)
    return "; ".join([*unavailable, *progress[-1:]])


if __name__ == "__main__":
    main()
