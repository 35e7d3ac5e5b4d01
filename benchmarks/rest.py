"""CPU and memory of the grabbers at normal traffic: a run a cluster, at the pace of data taking.

python -m benchmarks.rest [--minutes M]
"""

import argparse
import time

from benchmarks import report, usage
from benchmarks.report import Figure
from benchmarks.stage import stage
from mirror.records import Cluster
from processes.supervision import Process

# What a grabber does before it rests: it starts, and catches up with what is there.
_SETTLING_S = 45.0
_SAMPLE_EVERY_S = 5.0


def main() -> None:
    """Lets both grabbers mirror live clusters and looks what they use."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="how long")
    minutes = parser.parse_args().minutes
    with stage() as made:
        source = made.source(is_live=True)
        environment = made.environment(source)
        grabbers = {
            cluster: made.start(f"grabber-{cluster}", ["grabber.py", cluster.value], environment)
            for cluster in Cluster
        }
        time.sleep(_SETTLING_S)
        rows = _measure(grabbers, minutes)
    report.tell("rest", rows, notes=["Memory at the beginning, at the end, and the most of any moment, MB."])


def _measure(grabbers: dict[Cluster, Process], minutes: float) -> list[dict[str, Figure]]:
    began_s = time.monotonic()
    used_s = {cluster: usage.cpu_s(process.pid) for cluster, process in grabbers.items()}
    memory: dict[Cluster, list[float]] = {cluster: [] for cluster in grabbers}
    while time.monotonic() - began_s < 60 * minutes:
        for cluster, process in grabbers.items():
            process.refuse_ended()
            memory[cluster].append(usage.rss_mb(process.pid))
        time.sleep(_SAMPLE_EVERY_S)
    passed_s = time.monotonic() - began_s
    return [
        {
            "": f"{cluster} grabber",
            "minutes": passed_s / 60,
            "% of a core": 100 * (usage.cpu_s(process.pid) - used_s[cluster]) / passed_s,
            "first MB": memory[cluster][0],
            "last MB": memory[cluster][-1],
            "most MB": max(memory[cluster]),
        }
        for cluster, process in grabbers.items()
    ]


if __name__ == "__main__":
    main()
