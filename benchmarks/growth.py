"""CPU time of each page and API call with growing databases: it must not grow unless the response does.

A server without caches renders each response. The CPU time is that of the server with PostgreSQL, which
depends little on what else the machine does.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import cli, proc_usage
from benchmarks.cli import Figure
from benchmarks.environment import BenchmarkEnvironment, Server, benchmark_environment
from benchmarks.http_load import (
    NEWEST,
    OF_CRASHES,
    OF_RANGES,
    OF_RUNS,
    HttpClient,
    MakeUrl,
    Targets,
    load_targets,
)
from benchmarks.large_database import Size, fill

# 10³ to 2·10⁶ jobs.
_RUNS = (30, 300, 3000, 60_000)
_STATES_PER_RUN = 83
_RUNS_PER_RUN_WITH_DETAILS = 10
_MIN_RUNS_WITH_DETAILS = 30
_WARM_UP_REQUESTS = 3
_MAX_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class _Cost:
    """CPU time and size of a response, with a number of jobs in the database."""

    jobs: int
    cpu_ms: float
    kb: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill a database of each size and request everything."""
    parser = cli.parser("growth", __doc__)
    parser.add_argument(
        "--runs", type=cli.positive_int, nargs="+", default=_RUNS, help="sizes, with 33 jobs per run"
    )
    parser.add_argument("--requests", type=cli.positive_int, default=50, help="requests of each kind")
    parser.add_argument("--match", default="", help="measure only what has this in its name")
    options = parser.parse_args(arguments)
    kinds = {
        name: make_url
        for name, make_url in {**NEWEST, **OF_RUNS, **OF_RANGES, **OF_CRASHES}.items()
        if options.match in name
    }
    with benchmark_environment() as environment:
        by_size = [_costs(environment, kinds, runs, options.requests) for runs in sorted(options.runs)]
    rows = [_row(name, [costs[name] for costs in by_size]) for name in kinds]
    growing = [str(row[""]) for row in rows if not row["is flat"]]
    cli.report(
        "growth",
        rows,
        notes=[
            "CPU time in ms per response, by the number of jobs.",
            "×: the last by the first; kB ×: that of the size of the response.",
            f"Goal: × at most {_MAX_GROWTH} times kB ×. Above: {', '.join(growing) or 'none'}.",
        ],
    )


def _costs(
    environment: BenchmarkEnvironment, kinds: Mapping[str, MakeUrl], runs: int, requests: int
) -> dict[str, _Cost]:
    """Cost of a response of each kind with a database of this many runs."""
    environment.recreate_databases()
    settings = environment.settings()
    with_details = max(_MIN_RUNS_WITH_DETAILS, runs // _RUNS_PER_RUN_WITH_DETAILS)
    span = fill(settings, Size(runs, with_details, runs * _STATES_PER_RUN))
    targets = load_targets(settings, span)
    server = environment.uncached_server()
    pids = (server.process.pid, environment.postgres.process.pid)
    costs = {
        name: asyncio.run(_cost(server, pids, make_url, targets, requests))
        for name, make_url in kinds.items()
    }
    server.process.kill_group()
    return costs


async def _cost(
    server: Server, pids: Sequence[int], make_url: MakeUrl, targets: Targets, requests: int
) -> _Cost:
    client = HttpClient(server.url)
    # A template is compiled on first use.
    await _request(client, [make_url(targets) for _ in range(_WARM_UP_REQUESTS)])
    before_s = sum(map(proc_usage.cpu_s, pids))
    size = await _request(client, [make_url(targets) for _ in range(requests)])
    cpu_s = sum(map(proc_usage.cpu_s, pids)) - before_s
    client.close()
    return _Cost(targets.span.jobs, 1000 * cpu_s / requests, size / requests / 1000)


async def _request(client: HttpClient, paths: Sequence[str]) -> int:
    """Request each path; returns the bytes of all bodies. Raises RuntimeError unless all succeed."""
    size = 0
    for path in paths:
        response = await client.get(path)
        if response.status != 200:
            raise RuntimeError(f"status {response.status} for {path}")
        size += response.size
    return size


def _row(name: str, costs: Sequence[_Cost]) -> dict[str, Figure]:
    growth, of_size = costs[-1].cpu_ms / costs[0].cpu_ms, costs[-1].kb / costs[0].kb
    return {
        "": name,
        **{f"{cost.jobs:,} jobs": cost.cpu_ms for cost in costs},
        "×": growth,
        "kB ×": of_size,
        "is flat": growth <= _MAX_GROWTH * max(1, of_size),
    }


if __name__ == "__main__":
    main()
