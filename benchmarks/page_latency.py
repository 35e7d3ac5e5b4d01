"""How fast each page and each call of the API is answered on a database of ten years.

One visitor asks again as soon as he is answered: first each time for something else, so that the database is
asked and the answer made, then for the same, as when many look at it. What there is only one of, such as the
newest run, is made anew each time by a server that keeps nothing.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import cli, results
from benchmarks.environment import settings_of, stage
from benchmarks.http_load import Visitor, percentile_ms
from benchmarks.large_database import Size, fill
from benchmarks.results import Figure
from benchmarks.servers import mirror_server, server_that_keeps_nothing
from benchmarks.urls import NEWEST, OF_RANGES, OF_RUNS, Addresses, Make, addresses

_STATES_A_RUN = 83
_RUNS_A_DETAIL = 10
_NOT_MEASURED = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """How long each of some requests took, one after the other, and how large the answers were."""

    times_s: Sequence[float]
    sizes: Sequence[int]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.times_s) / sum(self.times_s)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fills a database, asks for everything and tells."""
    parser = cli.parser("page_latency", __doc__)
    parser.add_argument(
        "--runs", type=cli.count, default=60_000, help="runs of ten years, of 33 jobs or more each"
    )
    parser.add_argument("--requests", type=cli.count, default=200, help="how many of each kind")
    chosen = parser.parse_args(arguments)
    with stage() as made:
        settings = settings_of(made.environment())
        size = Size(chosen.runs, chosen.runs // _RUNS_A_DETAIL, chosen.runs * _STATES_A_RUN)
        began_s = time.monotonic()
        span = fill(settings, size)
        filled_s = time.monotonic() - began_s
        some = addresses(settings, span)
        keeps, keeps_nothing = mirror_server(made).url, server_that_keeps_nothing(made).url
        rows = [
            *(_row(name, keeps_nothing, keeps, make, some, chosen.requests) for name, make in NEWEST.items()),
            *(
                _row(name, keeps, keeps, make, some, chosen.requests)
                for name, make in {**OF_RUNS, **OF_RANGES}.items()
            ),
        ]
    results.tell(
        "pages",
        rows,
        notes=[
            f"{chosen.runs:,} runs, {span.jobs:,} jobs, {size.states:,} states, filled in {filled_s:,.0f} s.",
            "goal: p95 below 50 ms, below 300 ms for a year of one client, with pages rendered",
        ],
    )


def _row(name: str, anew: str, again: str, make: Make, some: Addresses, count: int) -> dict[str, Figure]:
    # A template is compiled when it is first used.
    asyncio.run(_ask(anew, [make(some) for _ in range(_NOT_MEASURED)]))
    made = asyncio.run(_ask(anew, [make(some) for _ in range(count)]))
    one = make(some)
    asyncio.run(_ask(again, [one]))
    same = asyncio.run(_ask(again, [one] * count))
    return {
        "": name,
        "kB": sum(made.sizes) / len(made.sizes) / 1000,
        "requests/s": made.rate,
        "p50 ms": percentile_ms(made.times_s, 0.50),
        "p95 ms": percentile_ms(made.times_s, 0.95),
        "p99 ms": percentile_ms(made.times_s, 0.99),
        "the same/s": same.rate,
        "same p99 ms": percentile_ms(same.times_s, 0.99),
    }


async def _ask(url: str, paths: Sequence[str]) -> Asked:
    visitor = Visitor(url)
    answers = []
    for path in paths:
        answer = await visitor.get(path)
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered {answer.status}")
        answers.append(answer)
    visitor.leave()
    return Asked([answer.seconds for answer in answers], [answer.size for answer in answers])


if __name__ == "__main__":
    main()
