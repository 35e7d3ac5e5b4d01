"""Response times of every page and API call on a database of ten years.

A single client sends one request after the other: first for different things, so that the database is queried
and the response rendered each time, then for the same, as when many look at it. What exists only once, such
as the newest run, is requested from a server without caches for the first part. A Flask view that does
nothing is measured as well: the load of the machine slows down both.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import cli
from benchmarks.cli import Figure
from benchmarks.environment import benchmark_environment
from benchmarks.http_load import (
    NEWEST,
    OF_CRASHES,
    OF_RANGES,
    OF_RUNS,
    HttpClient,
    MakeUrl,
    Targets,
    load_targets,
    percentile_ms,
)
from benchmarks.large_database import Size, fill

_STATES_PER_RUN = 83
_RUNS_PER_RUN_WITH_DETAILS = 10
_WARM_UP_REQUESTS = 3


@dataclass(frozen=True, slots=True)
class Measurement:
    """Durations and sizes of consecutive responses."""

    times_s: Sequence[float]
    sizes: Sequence[int]

    @property
    def requests_per_s(self) -> float:
        """Rate of the requests."""
        return len(self.times_s) / sum(self.times_s)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill a database and request everything."""
    parser = cli.parser("page_latency", __doc__)
    parser.add_argument(
        "--runs", type=cli.positive_int, default=60_000, help="runs in ten years, with 33 or more jobs each"
    )
    parser.add_argument("--requests", type=cli.positive_int, default=200, help="requests of each kind")
    parser.add_argument("--match", default="", help="measure only what has this in its name")
    options = parser.parse_args(arguments)
    with benchmark_environment() as environment:
        settings = environment.settings()
        size = Size(options.runs, options.runs // _RUNS_PER_RUN_WITH_DETAILS, options.runs * _STATES_PER_RUN)
        started_at_s = time.monotonic()
        span = fill(settings, size)
        filled_s = time.monotonic() - started_at_s
        targets = load_targets(settings, span)
        cached, uncached = environment.mirror_server().url, environment.uncached_server().url
        bare = environment.bare_server().url
        rows = [
            _row(name, render_url, cached, bare, make_url, targets, options.requests)
            for render_url, kinds in ((uncached, NEWEST), (cached, {**OF_RUNS, **OF_RANGES, **OF_CRASHES}))
            for name, make_url in kinds.items()
            if options.match in name
        ]
    cli.report(
        "page_latency",
        rows,
        notes=[
            f"{size.runs:,} runs, {span.jobs:,} jobs, {size.states:,} states; filled in {filled_s:,.0f} s.",
            "×: p95 by the median of a Flask view that does nothing, requested just before.",
            "Goal, with rendering: × below 25, for crashes 100, for a year of one client 300.",
        ],
    )


def _row(
    name: str,
    render_url: str,
    repeat_url: str,
    bare_url: str,
    make_url: MakeUrl,
    targets: Targets,
    count: int,
) -> dict[str, Figure]:
    # A template is compiled on first use.
    asyncio.run(_request(render_url, [make_url(targets) for _ in range(_WARM_UP_REQUESTS)]))
    bare = asyncio.run(_request(bare_url, ["/bare"] * count, status=304))
    rendered = asyncio.run(_request(render_url, [make_url(targets) for _ in range(count)]))
    repeated_path = make_url(targets)
    asyncio.run(_request(repeat_url, [repeated_path]))
    repeated = asyncio.run(_request(repeat_url, [repeated_path] * count))
    return {
        "": name,
        "kB": sum(rendered.sizes) / len(rendered.sizes) / 1000,
        "requests/s": rendered.requests_per_s,
        "p50 ms": percentile_ms(rendered.times_s, 0.50),
        "p95 ms": percentile_ms(rendered.times_s, 0.95),
        "p99 ms": percentile_ms(rendered.times_s, 0.99),
        "×": percentile_ms(rendered.times_s, 0.95) / percentile_ms(bare.times_s, 0.50),
        "repeated/s": repeated.requests_per_s,
        "repeated p99 ms": percentile_ms(repeated.times_s, 0.99),
    }


async def _request(url: str, paths: Sequence[str], status: int = 200) -> Measurement:
    client = HttpClient(url)
    responses = []
    for path in paths:
        response = await client.get(path)
        if response.status != status:
            raise RuntimeError(f"status {response.status} for {path}")
        responses.append(response)
    client.close()
    return Measurement([one.seconds for one in responses], [one.size for one in responses])


if __name__ == "__main__":
    main()
