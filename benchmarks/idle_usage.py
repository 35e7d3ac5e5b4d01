"""CPU and memory of the grabbers at normal traffic: a run a cluster, at the pace of data taking."""

import time
from collections.abc import Sequence

import db
from benchmarks import cli, proc_usage, results
from benchmarks.environment import Stage, settings_of, stage
from benchmarks.results import Figure
from dqmsquare_cfg import Cluster
from runtime.supervisor import Process
from storage.cluster_reader import ClusterReader
from storage.read_models import SyncStatus

_LOOK_EVERY_S = 0.5
_SAMPLE_EVERY_S = 5.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Lets both grabbers mirror live clusters and looks what they use."""
    parser = cli.parser("idle_usage", __doc__)
    parser.add_argument("--minutes", type=cli.duration, default=10, help="how long")
    minutes = parser.parse_args(arguments).minutes
    with stage() as made:
        source = made.source(is_live=True)
        environment = made.environment(source)
        grabbers = {
            cluster: made.start(f"grabber-{cluster}", ["grabber.py", cluster.value], environment)
            for cluster in Cluster
        }
        for cluster, grabber in grabbers.items():
            _wait_until_caught_up(made, cluster, grabber)
        rows = _measure(grabbers, minutes)
    results.tell("rest", rows, notes=["Memory at the beginning, at the end, and the most of any moment, MB."])


def _wait_until_caught_up(made: Stage, cluster: Cluster, grabber: Process) -> None:
    """Waits until a grabber has nothing left to do but to go on."""
    database = db.engine(settings_of(made.environment()), cluster, "benchmark")
    reader = ClusterReader(database)
    while not _is_caught_up(reader.sync_status()):
        grabber.raise_if_exited()
        grabber.wait(_LOOK_EVERY_S)
    database.dispose()


def _is_caught_up(freshness: SyncStatus | None) -> bool:
    """Whether every machine is mirrored to its end, and is known to be up or not."""
    if freshness is None or freshness.status.last_success_at is None:
        return False
    return all(
        link.last_success_at is not None and not link.documents_behind for _, link in freshness.machines
    )


def _measure(grabbers: dict[Cluster, Process], minutes: float) -> list[dict[str, Figure]]:
    began_s = time.monotonic()
    used_s = {cluster: proc_usage.cpu_s(process.pid) for cluster, process in grabbers.items()}
    memory: dict[Cluster, list[float]] = {cluster: [] for cluster in grabbers}
    while time.monotonic() - began_s < 60 * minutes:
        for cluster, process in grabbers.items():
            process.raise_if_exited()
            memory[cluster].append(proc_usage.rss_mb(process.pid))
        time.sleep(_SAMPLE_EVERY_S)
    passed_s = time.monotonic() - began_s
    return [
        {
            "": f"{cluster} grabber",
            "minutes": passed_s / 60,
            "% of a core": 100 * (proc_usage.cpu_s(process.pid) - used_s[cluster]) / passed_s,
            "first MB": memory[cluster][0],
            "last MB": memory[cluster][-1],
            "most MB": max(memory[cluster]),
        }
        for cluster, process in grabbers.items()
    ]


if __name__ == "__main__":
    main()
