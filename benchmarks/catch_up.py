"""Rate at which a grabber mirrors existing documents, compared with bare fetching and a one-by-one mirror.

A day of 30 clients has 90,000 updates: each client reports every 29 s. DQM² lists a document once, with its
newest revision, however often it was updated meanwhile. With 40 runs, a day's backlog is therefore 1,200
documents of 75 updates each. The benchmark extrapolates the time for these, and for 90,000 documents, as many
as there would be if no document had been updated twice.
"""

import re
import resource
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import baselines, cli, proc_usage
from benchmarks.cli import Figure
from benchmarks.environment import FILTER_UNIT, BenchmarkEnvironment, SimulatedDqm2, benchmark_environment

# CPU time per document of the released DQM² (docs/dqm2-protocol.md).
_DQM2_MS_PER_DOCUMENT = 1.3
_ROUND_TRIP_S = 0.02
_BACKLOG_DOCUMENTS = (1_200, 90_000)
_SYNCED = re.compile(r"machine_synced host=\S+ documents=(\d+) revision=\d+ seconds=([\d.]+)")


@dataclass(frozen=True, slots=True)
class CatchUp:
    """A catch-up of the grabber, and the CPU time of the processes involved."""

    documents: int
    seconds: float
    grabber_cpu_s: float
    postgres_cpu_s: float
    dqm2_cpu_s: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure with a DQM² as slow as the real one, with a distant one, and with one that costs nothing."""
    parser = cli.parser("catch_up", __doc__)
    parser.add_argument("--documents", type=cli.positive_int, default=5000, help="documents to mirror")
    parser.add_argument(
        "--one-by-one", type=cli.positive_int, default=100, help="how many of them one by one"
    )
    options = parser.parse_args(arguments)
    with benchmark_environment() as environment:
        dqm2 = environment.start_dqm2()
        dqm2.admin.call("fill", machine=FILTER_UNIT, count=options.documents, cache_json=True)
        rows = [
            *_measure_slow(environment, dqm2),
            *_measure_distant(environment, dqm2, options.one_by_one),
            *_measure_free(environment, dqm2),
        ]
    cli.report(
        "catch_up",
        rows,
        notes=[
            f"{options.documents:,} documents of a filter unit, from the first request to the last commit.",
            "CPU in ms per document: of the grabber with its parser processes, of PostgreSQL, of DQM².",
            "Goal: a day's backlog in at most 120 s, even if each update is of another document.",
        ],
    )


def _measure_slow(environment: BenchmarkEnvironment, dqm2: SimulatedDqm2) -> list[dict[str, Figure]]:
    dqm2.admin.call("add-fault", kind="document-cost", amount=_DQM2_MS_PER_DOCUMENT)
    rows = _compare_with_fetching(
        environment, dqm2, f"DQM² as slow as the real one ({_DQM2_MS_PER_DOCUMENT} ms per document)"
    )
    dqm2.admin.call("clear-faults")
    return rows


def _measure_distant(
    environment: BenchmarkEnvironment, dqm2: SimulatedDqm2, one_by_one: int
) -> list[dict[str, Figure]]:
    distant = environment.delayed(dqm2, _ROUND_TRIP_S)
    environment.recreate_databases()
    one_by_one_s = baselines.mirror_one_by_one(environment.settings(distant), FILTER_UNIT, one_by_one)
    catch_up = _catch_up(environment, distant)
    name = f"DQM² {_ROUND_TRIP_S * 1000:.0f} ms away"
    slow = _row(name, "one by one", one_by_one, one_by_one_s)
    fast = _row(name, "grabber", catch_up.documents, catch_up.seconds, catch_up)
    fast["× one by one"] = (catch_up.documents / catch_up.seconds) / (one_by_one / one_by_one_s)
    return [slow, fast]


def _measure_free(environment: BenchmarkEnvironment, dqm2: SimulatedDqm2) -> list[dict[str, Figure]]:
    return _compare_with_fetching(environment, dqm2, "DQM² that costs nothing")


def _compare_with_fetching(
    environment: BenchmarkEnvironment, dqm2: SimulatedDqm2, name: str
) -> list[dict[str, Figure]]:
    fetching_s = baselines.fetch_all(environment.settings(dqm2), FILTER_UNIT)
    catch_up = _catch_up(environment, dqm2)
    grabber = _row(name, "grabber", catch_up.documents, catch_up.seconds, catch_up)
    grabber["of fetching"] = fetching_s / catch_up.seconds
    return [_row(name, "fetching", catch_up.documents, fetching_s), grabber]


def _catch_up(environment: BenchmarkEnvironment, dqm2: SimulatedDqm2) -> CatchUp:
    """Let a grabber make one pass over machines of which one has documents."""
    environment.recreate_databases()
    postgres_pid = environment.postgres.process.pid
    before = proc_usage.cpu_s(postgres_pid), proc_usage.cpu_s(dqm2.process.pid), _children_cpu_s()
    grabber = environment.start(
        "grabber", ["grabber.py", "production", "--once"], environment.variables(dqm2)
    )
    while not grabber.wait(60):
        grabber.raise_if_exited()
    lines = grabber.tail(1000)
    grabber.kill_group()
    found = next(filter(None, map(_SYNCED.search, lines)), None)
    if found is None:
        raise RuntimeError(grabber.report("mirrored nothing"))
    return CatchUp(
        documents=int(found[1]),
        seconds=float(found[2]),
        grabber_cpu_s=_children_cpu_s() - before[2],
        postgres_cpu_s=proc_usage.cpu_s(postgres_pid) - before[0],
        dqm2_cpu_s=proc_usage.cpu_s(dqm2.process.pid) - before[1],
    )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _backlog_s(documents_per_s: float) -> str:
    return " to ".join(f"{documents / documents_per_s:.0f}" for documents in _BACKLOG_DOCUMENTS)


def _row(
    dqm2: str, client: str, documents: int, seconds: float, catch_up: CatchUp | None = None
) -> dict[str, Figure]:
    ms_per_cpu_s = 1000 / documents
    return {
        "": dqm2,
        "client": client,
        "documents": documents,
        "seconds": seconds,
        "documents/s": documents / seconds,
        "backlog s": None if catch_up is None else _backlog_s(documents / seconds),
        "of fetching": None,
        "× one by one": None,
        "grabber": None if catch_up is None else catch_up.grabber_cpu_s * ms_per_cpu_s,
        "PostgreSQL": None if catch_up is None else catch_up.postgres_cpu_s * ms_per_cpu_s,
        "DQM²": None if catch_up is None else catch_up.dqm2_cpu_s * ms_per_cpu_s,
    }


if __name__ == "__main__":
    main()
