"""Rate of each call of the API beside a plain application's (`benchmarks/plain_api.py`), one worker each.

16 clients request ended runs, 20 of them in turn, and then the ongoing run, of which a job reports once per
second. Rates depend on the load of the machine, which the clients share; the CPU time per
request, of the server with PostgreSQL, hardly does.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import uvloop

from benchmarks import cli, proc_usage
from benchmarks.cli import Figure
from benchmarks.environment import BenchmarkEnvironment, Server, benchmark_environment
from benchmarks.http_load import HttpClient, Targets, load_targets
from benchmarks.large_database import Size, Span, fill
from benchmarks.viewer_load import reporting_job

_SIZE = Size(runs=3000, runs_with_details=1000, states=100_000)
_CLIENTS = 16
_RUNS = 20


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each call on both servers."""
    parser = cli.parser("api_rates", __doc__)
    parser.add_argument("--seconds", type=cli.positive_number, default=3.0, help="duration per measurement")
    seconds = parser.parse_args(arguments).seconds
    with benchmark_environment() as environment:
        settings = environment.settings()
        span = fill(settings, _SIZE)
        plain, mirror = environment.plain_api_server(), environment.mirror_server()
        calls = _calls(span, load_targets(settings, span))
        compare = _Comparison(environment, plain, mirror, seconds)
        rows = [compare(name, paths) for name, paths in calls.items()]
        with reporting_job(settings, span):
            rows += [compare(name, paths) for name, paths in _ongoing_calls(span).items()]
        longest_s = max(uvloop.run(_ranges_at_once(mirror, span)))
    cli.report(
        "api_rates",
        rows,
        notes=[
            f"{_CLIENTS} clients, each with a range of {_RUNS} runs at once: at most {longest_s:.2f} s.",
            "CPU: ms of the server and PostgreSQL per request; × is the ratio of these.",
            "Goal: × 5 on ended runs, × 3 on the ongoing run.",
            "Goal: all of the ranges succeed, within 5 s.",
        ],
    )


def _calls(span: Span, targets: Targets) -> dict[str, list[str]]:
    """Paths of each call on ended runs."""
    first = span.last_run - 2 * _RUNS
    runs = range(first, first + _RUNS)
    return {
        "get_info": [_path("get_info")],
        "get_run": [_path("get_run", f"run={run}") for run in runs],
        "get_graph": [_path("get_graph", f"run={run}") for run in runs],
        "get_runs of 20 runs": [_path("get_runs", _range(run)) for run in runs],
        "get_clients of 20 runs": [_path("get_clients", _range(run)) for run in runs],
        "get_logs": [_path("get_logs", f"id={targets.job}") for _ in range(_RUNS)],
        "get_cluster_status": [_path("get_cluster_status", "cluster=production")],
    }


def _ongoing_calls(span: Span) -> dict[str, list[str]]:
    """Paths of the calls on the ongoing run."""
    return {
        "get_run, ongoing": [_path("get_run", f"run={span.last_run}")],
        "get_runs of 20 runs, ongoing": [_path("get_runs", _range(span.last_run - _RUNS + 1))],
        "get_clients of 20 runs, ongoing": [_path("get_clients", _range(span.last_run - _RUNS + 1))],
    }


def _path(what: str, parameters: str = "") -> str:
    return f"/api?what={what}&db=production&{parameters}"


def _range(first: int) -> str:
    return f"from={first}&to={first + _RUNS - 1}"


@dataclass(frozen=True, slots=True)
class _Usage:
    """Requests per second, and the CPU time that each took."""

    rate: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Comparison of the plain application's server with the mirror's."""

    environment: BenchmarkEnvironment
    plain: Server
    mirror: Server
    seconds: float

    def __call__(self, name: str, paths: Sequence[str]) -> dict[str, Figure]:
        """Row of a call with these paths."""
        plain, mirror = self._usage(self.plain, paths), self._usage(self.mirror, paths)
        return {
            "": name,
            "plain requests/s": plain.rate,
            "mirror requests/s": mirror.rate,
            "plain CPU": plain.cpu_ms,
            "mirror CPU": mirror.cpu_ms,
            "×": plain.cpu_ms / mirror.cpu_ms,
        }

    def _usage(self, server: Server, paths: Sequence[str]) -> _Usage:
        uvloop.run(_request_each(server, paths))
        before_s = self._cpu_s(server)
        count = uvloop.run(_request_in_turn(server, paths, self.seconds))
        cpu_s = self._cpu_s(server) - before_s
        return _Usage(count / self.seconds, 1000 * cpu_s / count)

    def _cpu_s(self, server: Server) -> float:
        return sum(map(proc_usage.cpu_s, (server.process.pid, self.environment.postgres.process.pid)))


async def _request_each(server: Server, paths: Sequence[str]) -> None:
    client = HttpClient(server.url)
    for path in paths:
        await _succeed(client, path)
    client.close()


async def _request_in_turn(server: Server, paths: Sequence[str], seconds: float) -> int:
    """Number of requests that succeed in a time; fails if one is refused."""
    clients = [HttpClient(server.url) for _ in range(_CLIENTS)]
    paths_in_turn = cycle(paths)
    stop_at_s = time.monotonic() + seconds

    async def request(client: HttpClient) -> int:
        count = 0
        while time.monotonic() < stop_at_s:
            await _succeed(client, next(paths_in_turn))
            count += 1
        return count

    counts = await asyncio.gather(*map(request, clients))
    for client in clients:
        client.close()
    return sum(counts)


async def _ranges_at_once(server: Server, span: Span) -> list[float]:
    """Seconds of one request per client, each for a range that nobody has requested before."""
    clients = [HttpClient(server.url) for _ in range(_CLIENTS)]
    paths = [_path("get_runs", _range(span.first_run + _RUNS * number)) for number in range(_CLIENTS)]
    seconds = await asyncio.gather(*map(_succeed, clients, paths))
    for client in clients:
        client.close()
    return seconds


async def _succeed(client: HttpClient, path: str) -> float:
    """Request a path and return the seconds that the response took. Raises RuntimeError unless it is 200."""
    response = await client.get(path)
    if response.status != 200:
        raise RuntimeError(f"status {response.status} for {path}")
    return response.seconds


if __name__ == "__main__":
    main()
