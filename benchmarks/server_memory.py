"""Memory of a server worker under a mix of requests of every kind, and after hostile ones.

Resident memory includes what the worker shares with the process that forked it and with other programs:
libraries, and objects from before the fork. Its proportional share of that together with what is its own (PSS
in proc(5)) is what a worker costs. A hostile request has a query of 4 kB, as different as possible from the
others: its beginning is redacted for the access log.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from urllib.parse import quote

from benchmarks import cli, proc_usage
from benchmarks.cli import Figure
from benchmarks.environment import Server, benchmark_environment
from benchmarks.http_load import (
    NEWEST,
    OF_CRASHES,
    OF_RANGES,
    OF_RUNS,
    HttpClient,
    Targets,
    load_targets,
)
from benchmarks.large_database import Size, fill

_SIZE = Size(runs=6000, runs_with_details=600, states=100_000)
_CLIENTS = 4
_SAMPLES = 10
# Weights of the mix: most visitors look at the newest; a range takes as long as a hundred of those.
_MIX = ((NEWEST, 89), (OF_RUNS, 9), (OF_RANGES, 1), (OF_CRASHES, 1))
_HOSTILE_REQUESTS = 1000
_HOSTILE_BYTES = 4000
# On average. Only whole parameters are logged, 1 kB of them.
_HOSTILE_WORDS_PER_PARAMETER = 20
# Beginnings of what redaction looks for.
_HOSTILE_WORDS = (
    "password",
    "token",
    "user",
    "Authorization:",
    "-----BEGIN",
    "cern.ch",
    "fu-c2a11-43-01",
    "://",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Send the requests and sample the worker's memory."""
    parser = cli.parser("server_memory", __doc__)
    parser.add_argument("--requests", type=cli.positive_int, default=100_000, help="number of requests")
    count = parser.parse_args(arguments).requests
    with benchmark_environment() as environment:
        settings = environment.settings()
        targets = load_targets(settings, fill(settings, _SIZE))
        rows = asyncio.run(_measure(environment.mirror_server(), _paths(targets), count))
    cli.report(
        "server_memory",
        rows,
        notes=[
            "Goal: flat, at most 80 MB resident after 100,000 requests and the hostile ones.",
        ],
    )


async def _measure(server: Server, paths: Iterator[str], count: int) -> list[dict[str, Figure]]:
    clients = [HttpClient(server.url) for _ in range(_CLIENTS)]
    # The port is open before a worker exists.
    await clients[0].get("/healthz")
    [worker] = [pid for pid in proc_usage.process_tree(server.process.pid) if pid != server.process.pid]
    rows: list[dict[str, Figure]] = [_row("mix", worker, 0)]
    for sample in range(1, _SAMPLES + 1):
        batch = list(islice(paths, count // _SAMPLES))
        shares = (batch[number::_CLIENTS] for number in range(_CLIENTS))
        await asyncio.gather(
            *(_request(client, share) for client, share in zip(clients, shares, strict=True))
        )
        rows.append(_row("mix", worker, sample * len(batch)))
    await _request(clients[0], list(islice(_hostile_paths(), _HOSTILE_REQUESTS)))
    rows.append(_row("hostile", worker, _HOSTILE_REQUESTS))
    return rows


def _row(kind: str, worker: int, requests: int) -> dict[str, Figure]:
    return {
        "": kind,
        "requests": requests,
        "resident MB": proc_usage.rss_mb(worker),
        "PSS MB": proc_usage.pss_mb(worker),
        "peak MB": proc_usage.peak_mb(worker),
    }


async def _request(client: HttpClient, paths: Sequence[str]) -> None:
    for path in paths:
        response = await client.get(path)
        # The server limits the number of concurrent range requests.
        if response.status not in (200, 503) and "/nothing?" not in path:
            raise RuntimeError(f"status {response.status} for {path}")


def _paths(targets: Targets) -> Iterator[str]:
    """An endless sequence of paths with the weights of the mix."""
    rng = random.Random(2)
    kinds, weights = [kind for kind, _ in _MIX], [weight for _, weight in _MIX]
    while True:
        [kind] = rng.choices(kinds, weights)
        yield rng.choice(list(kind.values()))(targets)


def _hostile_paths() -> Iterator[str]:
    """An endless sequence of paths of no page."""
    rng = random.Random(3)
    while True:
        query = ""
        while len(query) < _HOSTILE_BYTES:
            query += quote(rng.choice(_HOSTILE_WORDS)[: rng.randrange(1, 20)] + chr(rng.randrange(33, 127)))
            if not rng.randrange(_HOSTILE_WORDS_PER_PARAMETER):
                query += "&"
        yield f"/nothing?{query[:_HOSTILE_BYTES]}"


if __name__ == "__main__":
    main()
