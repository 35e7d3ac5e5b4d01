"""Memory of a server worker under a mix of requests for random runs, jobs and ranges."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from itertools import islice

from benchmarks import cli, proc_usage
from benchmarks.cli import Figure
from benchmarks.environment import Server, benchmark_environment
from benchmarks.http_load import NEWEST, OF_RANGES, OF_RUNS, HttpClient, Targets, load_targets
from benchmarks.large_database import Size, fill

_SIZE = Size(runs=6000, runs_with_details=600, states=100_000)
_CLIENTS = 4
_SAMPLES = 10
# Weights of the mix: most visitors look at the newest; a range takes as long as a hundred of those.
_MIX = ((NEWEST, 90), (OF_RUNS, 9), (OF_RANGES, 1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Send the requests and sample the worker's memory."""
    parser = cli.parser("server_memory", __doc__)
    parser.add_argument("--requests", type=cli.positive_int, default=100_000, help="number of requests")
    count = parser.parse_args(arguments).requests
    with benchmark_environment() as environment:
        settings = environment.settings()
        targets = load_targets(settings, fill(settings, _SIZE))
        rows = asyncio.run(_measure(environment.mirror_server(), _paths(targets), count))
    cli.report("server_memory", rows, notes=["Goal: flat, at most 90 MB after 100,000 requests."])


async def _measure(server: Server, paths: Iterator[str], count: int) -> list[dict[str, Figure]]:
    clients = [HttpClient(server.url) for _ in range(_CLIENTS)]
    # The port is open before a worker exists.
    await clients[0].get("/healthz")
    [worker] = [pid for pid in proc_usage.process_tree(server.process.pid) if pid != server.process.pid]
    rows: list[dict[str, Figure]] = [_row(worker, 0)]
    for sample in range(1, _SAMPLES + 1):
        batch = list(islice(paths, count // _SAMPLES))
        shares = (batch[number::_CLIENTS] for number in range(_CLIENTS))
        await asyncio.gather(
            *(_request(client, share) for client, share in zip(clients, shares, strict=True))
        )
        rows.append(_row(worker, sample * len(batch)))
    return rows


def _row(worker: int, requests: int) -> dict[str, Figure]:
    return {"requests": requests, "MB": proc_usage.rss_mb(worker), "peak MB": proc_usage.peak_mb(worker)}


async def _request(client: HttpClient, paths: Sequence[str]) -> None:
    for path in paths:
        response = await client.get(path)
        # The server limits the number of concurrent range requests.
        if response.status not in (200, 503):
            raise RuntimeError(f"status {response.status} for {path}")


def _paths(targets: Targets) -> Iterator[str]:
    """An endless sequence of paths with the weights of the mix."""
    rng = random.Random(2)
    kinds, weights = [kind for kind, _ in _MIX], [weight for _, weight in _MIX]
    while True:
        [kind] = rng.choices(kinds, weights)
        yield rng.choice(list(kind.values()))(targets)


if __name__ == "__main__":
    main()
