"""Memory of a worker under requests of every kind, of runs, jobs and ranges without end."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from itertools import islice

from benchmarks import cli, proc_usage, results
from benchmarks.environment import settings_of, stage
from benchmarks.http_load import Visitor
from benchmarks.large_database import Size, fill
from benchmarks.results import Figure
from benchmarks.servers import Server, mirror_server
from benchmarks.urls import NEWEST, OF_RANGES, OF_RUNS, Addresses, addresses

_SIZE = Size(runs=6000, runs_with_details=600, states=100_000)
_VISITORS = 4
_LOOKS = 10
# Most visitors look at what is newest; a range takes as long as a hundred of those.
_OF_EACH = ((NEWEST, 90), (OF_RUNS, 9), (OF_RANGES, 1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Asks, and looks every now and then how much memory the worker has."""
    parser = cli.parser("server_memory", __doc__)
    parser.add_argument("--requests", type=cli.count, default=100_000, help="how many")
    count = parser.parse_args(arguments).requests
    with stage() as made:
        settings = settings_of(made.environment())
        some = addresses(settings, fill(settings, _SIZE))
        server = mirror_server(made)
        rows = asyncio.run(_measure(server, _paths(some), count))
    results.tell("memory", rows, notes=["goal: flat, at most 90 MB after 100,000 requests"])


async def _measure(server: Server, paths: Iterator[str], count: int) -> list[dict[str, Figure]]:
    visitors = [Visitor(server.url) for _ in range(_VISITORS)]
    # The port is open before there is a worker to answer.
    await visitors[0].get("/healthz")
    [worker] = [pid for pid in proc_usage.family(server.process.pid) if pid != server.process.pid]
    rows: list[dict[str, Figure]] = [_row(worker, 0)]
    for look in range(1, _LOOKS + 1):
        for_all = list(islice(paths, count // _LOOKS))
        parts = (for_all[number::_VISITORS] for number in range(_VISITORS))
        await asyncio.gather(*(_ask(visitor, part) for visitor, part in zip(visitors, parts, strict=True)))
        rows.append(_row(worker, look * len(for_all)))
    return rows


def _row(worker: int, requests: int) -> dict[str, Figure]:
    return {"requests": requests, "MB": proc_usage.rss_mb(worker), "most MB": proc_usage.peak_mb(worker)}


async def _ask(visitor: Visitor, paths: Sequence[str]) -> None:
    for path in paths:
        answer = await visitor.get(path)
        # Ranges are answered a few at a time.
        if answer.status not in (200, 503):
            raise RuntimeError(f"{path} was answered {answer.status}")


def _paths(some: Addresses) -> Iterator[str]:
    """Addresses without end, a kind as often as it is asked for."""
    dice = random.Random(2)
    kinds, weights = [kind for kind, _ in _OF_EACH], [weight for _, weight in _OF_EACH]
    while True:
        [kind] = dice.choices(kinds, weights)
        yield dice.choice(list(kind.values()))(some)


if __name__ == "__main__":
    main()
