"""CPU and memory of the grabbers at normal traffic: one run per cluster at the pace of data taking."""

import time
from collections.abc import Sequence

import db
from benchmarks import cli, proc_usage
from benchmarks.cli import Figure
from benchmarks.environment import BenchmarkEnvironment, benchmark_environment
from dqmsquare_cfg import Cluster
from runtime.supervisor import Process
from storage.cluster_reader import ClusterReader
from storage.read_models import SyncStatus

_POLL_INTERVAL_S = 0.5
_SAMPLE_INTERVAL_S = 5.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Let both grabbers mirror live clusters and sample their usage."""
    parser = cli.parser("idle_usage", __doc__)
    parser.add_argument("--minutes", type=cli.positive_number, default=10, help="duration of the measurement")
    minutes = parser.parse_args(arguments).minutes
    with benchmark_environment() as environment:
        variables = environment.variables(environment.start_dqm2(is_live=True))
        grabbers = {
            cluster: environment.start(f"grabber-{cluster}", ["grabber.py", cluster.value], variables)
            for cluster in Cluster
        }
        for cluster, grabber in grabbers.items():
            _wait_until_caught_up(environment, cluster, grabber)
        rows = _measure(grabbers, minutes)
    cli.report("idle_usage", rows, notes=["Memory (MB): the first, the last and the highest sample."])


def _wait_until_caught_up(environment: BenchmarkEnvironment, cluster: Cluster, grabber: Process) -> None:
    database = db.engine(environment.settings(), cluster, "benchmark")
    reader = ClusterReader(database)
    while not _is_caught_up(reader.sync_status()):
        grabber.raise_if_exited()
        grabber.wait(_POLL_INTERVAL_S)
    database.dispose()


def _is_caught_up(status: SyncStatus | None) -> bool:
    """Whether every machine is mirrored completely and the cluster status is known."""
    if status is None or status.status.last_success_at is None:
        return False
    return all(link.last_success_at is not None and not link.documents_behind for _, link in status.machines)


def _measure(grabbers: dict[Cluster, Process], minutes: float) -> list[dict[str, Figure]]:
    started_at_s = time.monotonic()
    cpu_before_s = {cluster: proc_usage.cpu_s(process.pid) for cluster, process in grabbers.items()}
    rss_mb: dict[Cluster, list[float]] = {cluster: [] for cluster in grabbers}
    while time.monotonic() - started_at_s < 60 * minutes:
        for cluster, process in grabbers.items():
            process.raise_if_exited()
            rss_mb[cluster].append(proc_usage.rss_mb(process.pid))
        time.sleep(_SAMPLE_INTERVAL_S)
    elapsed_s = time.monotonic() - started_at_s
    return [
        {
            "": f"{cluster} grabber",
            "minutes": elapsed_s / 60,
            "% of a core": 100 * (proc_usage.cpu_s(process.pid) - cpu_before_s[cluster]) / elapsed_s,
            "first MB": rss_mb[cluster][0],
            "last MB": rss_mb[cluster][-1],
            "max MB": max(rss_mb[cluster]),
        }
        for cluster, process in grabbers.items()
    ]


if __name__ == "__main__":
    main()
