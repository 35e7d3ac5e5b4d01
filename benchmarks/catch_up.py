"""How fast a machine's documents come to committed rows, beside the floor and the one-by-one mirror."""

import re
import resource
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import cli, floor, one_by_one, proc_usage, results
from benchmarks.environment import FILTER_UNIT, Source, Stage, settings_of, stage
from benchmarks.results import Figure

# CPU that the released DQM² takes a document, in milliseconds (protocol, costs).
_RELEASED_COST_MS = 1.3
_ROUND_TRIP_S = 0.02
_CAUGHT_UP = re.compile(r"machine_synced host=\S+ documents=(\d+) revision=\d+ seconds=([\d.]+)")


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """A catch-up of the grabber: documents, seconds, and CPU in seconds of the programs that took part."""

    documents: int
    seconds: float
    grabber_cpu_s: float
    postgres_cpu_s: float
    source_cpu_s: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures against a source as slow as DQM², one that is far away, and one that costs nothing."""
    parser = cli.parser("catch_up", __doc__)
    parser.add_argument("--documents", type=cli.count, default=5000, help="how many are caught up with")
    parser.add_argument("--one-by-one", type=cli.count, default=100, help="how many of them one by one")
    chosen = parser.parse_args(arguments)
    with stage() as made:
        source = made.source()
        source.tell("fill", machine=FILTER_UNIT, count=chosen.documents, cache_json=True)
        rows = [
            *_slow_source(made, source),
            *_far_source(made, source, chosen.one_by_one),
            *_free_source(made, source),
        ]
    results.tell(
        "catch_up",
        rows,
        notes=[
            f"{chosen.documents:,} documents of a filter unit, from the first question to the last commit.",
            "CPU in ms a document: of the grabber and its sifting processes, of PostgreSQL, of the source.",
        ],
    )


def _slow_source(made: Stage, source: Source) -> list[dict[str, Figure]]:
    """A source that takes as much CPU a document as the released DQM²."""
    source.tell("add-fault", kind="document-cost", amount=_RELEASED_COST_MS)
    settings = settings_of(made.environment(source))
    floor_s = floor.fetch_all(settings, FILTER_UNIT)
    caught_up = _catch_up(made, source, "slow")
    source.tell("clear-faults")
    where = f"source as slow as DQM² ({_RELEASED_COST_MS} ms a document)"
    return [
        _row(where, "floor", caught_up.documents, floor_s),
        _row(where, "grabber", caught_up.documents, caught_up.seconds, caught_up, floor_s=floor_s),
    ]


def _far_source(made: Stage, source: Source, few: int) -> list[dict[str, Figure]]:
    """A source to which a round trip takes time."""
    far = made.far(source, _ROUND_TRIP_S)
    made.empty()
    settings = settings_of(made.environment(far))
    one_by_one_s = one_by_one.mirror(settings, FILTER_UNIT, few)
    caught_up = _catch_up(made, far, "far")
    where = f"source {_ROUND_TRIP_S * 1000:.0f} ms away"
    slow = _row(where, "one by one", few, one_by_one_s)
    fast = _row(where, "grabber", caught_up.documents, caught_up.seconds, caught_up)
    fast["times one by one"] = (caught_up.documents / caught_up.seconds) / (few / one_by_one_s)
    return [slow, fast]


def _free_source(made: Stage, source: Source) -> list[dict[str, Figure]]:
    """A source that costs nothing."""
    floor_s = floor.fetch_all(settings_of(made.environment(source)), FILTER_UNIT)
    caught_up = _catch_up(made, source, "free")
    where = "source that costs nothing"
    return [
        _row(where, "floor", caught_up.documents, floor_s),
        _row(where, "grabber", caught_up.documents, caught_up.seconds, caught_up, floor_s=floor_s),
    ]


def _catch_up(made: Stage, source: Source, name: str) -> CaughtUp:
    """One pass of the grabber over machines of which one has documents."""
    made.empty()
    environment = made.environment(source)
    postgres_pid = made.postgres.process.pid
    before = proc_usage.cpu_s(postgres_pid), proc_usage.cpu_s(source.process.pid), _children_cpu_s()
    grabber = made.start(f"grabber-{name}", ["grabber.py", "production", "--once"], environment)
    while not grabber.wait(60):
        grabber.raise_if_exited()
    lines = grabber.tail(1000)
    grabber.kill_group()
    found = next(filter(None, map(_CAUGHT_UP.search, lines)), None)
    if found is None:
        raise RuntimeError(grabber.report("caught up with nothing"))
    return CaughtUp(
        documents=int(found[1]),
        seconds=float(found[2]),
        grabber_cpu_s=_children_cpu_s() - before[2],
        postgres_cpu_s=proc_usage.cpu_s(postgres_pid) - before[0],
        source_cpu_s=proc_usage.cpu_s(source.process.pid) - before[1],
    )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _row(
    where: str,
    what: str,
    documents: int,
    seconds: float,
    caught_up: CaughtUp | None = None,
    *,
    floor_s: float | None = None,
) -> dict[str, Figure]:
    def each_ms(cpu_s: Sequence[float]) -> list[float | None]:
        return [1000 * one / documents for one in cpu_s]

    cpu = (
        each_ms([caught_up.grabber_cpu_s, caught_up.postgres_cpu_s, caught_up.source_cpu_s])
        if caught_up
        else [None] * 3
    )
    return {
        "": where,
        "what": what,
        "documents": documents,
        "seconds": seconds,
        "documents/s": documents / seconds,
        "of the floor": None if floor_s is None else floor_s / seconds,
        "times one by one": None,
        "grabber": cpu[0],
        "postgres": cpu[1],
        "source": cpu[2],
    }


if __name__ == "__main__":
    main()
