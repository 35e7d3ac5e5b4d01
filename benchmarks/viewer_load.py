"""What a viewer of the live page costs: CPU of the server and of PostgreSQL, a viewer and poll cycle.

Two hundred viewers poll as the page's scripts do, with nothing changing and with one report a second. Beside
them stand a bare Flask view that answers 304 to as many requests, the floor, and a plain page that asks four
API requests a cycle of a server that keeps nothing. Then two thousand viewers, with one report a second.
"""

import asyncio
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

import db
from benchmarks import cli, proc_usage, results, sample_jobs
from benchmarks.environment import FILTER_UNIT, Stage, settings_of, stage
from benchmarks.http_load import Visitor, percentile_ms
from benchmarks.large_database import Size, Span, fill
from benchmarks.results import Figure
from benchmarks.servers import Server, bare_server, mirror_server, server_that_keeps_nothing
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqm2.records import DocumentVersion
from dqmsquare_cfg import Cluster, Settings
from storage.rows import Batch, Checkpoint, to_row
from storage.sync_status import ClusterLinks, LinkStatus
from storage.writer import MirrorWriter

_INTERVAL_S = 3.0
_VIEWERS, _MANY_VIEWERS = 200, 2000
_SIZE = Size(runs=300, runs_with_details=30, states=10_000)
_BEAT_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Page:
    """What a page asks for each cycle; only for what changed, if it knows how to."""

    paths: Sequence[str]
    asks_if_changed: bool = True


# The live page's parts, as `static/js` asks for them.
_LIVE = Page(("/live/run?db=production", "/live/freshness?db=production"))


@dataclass(frozen=True, slots=True)
class Looked:
    """What viewers had of the cycles that were measured, and what CPU it took (s)."""

    viewers: int
    cycles: float
    seconds: float
    times_s: Sequence[float]
    unchanged: int
    server_cpu_s: float
    postgres_cpu_s: float

    @property
    def cost_ms(self) -> float:
        """CPU of server and PostgreSQL together, a viewer and cycle."""
        return 1000 * (self.server_cpu_s + self.postgres_cpu_s) / (self.viewers * self.cycles)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures each after the other, on one machine, and tells."""
    parser = cli.parser("viewer_load", __doc__)
    parser.add_argument("--cycles", type=cli.count, default=10, help="poll cycles of 3 s that are measured")
    cycles = parser.parse_args(arguments).cycles
    with stage() as made:
        settings = settings_of(made.environment())
        span = fill(settings, _SIZE)
        bare, plain, kept = bare_server(made), server_that_keeps_nothing(made), mirror_server(made)
        measured = {
            "bare view, 304": _look(made, bare, _LIVE, cycles),
            "plain page, nothing kept": _look(made, plain, _plain_page(span), cycles),
            "unchanged": _look(made, kept, _LIVE, cycles),
        }
        with _changing(settings, span):
            measured["one change a second"] = _look(made, kept, _LIVE, cycles)
            measured["many, one change a second"] = _look(made, kept, _LIVE, cycles, viewers=_MANY_VIEWERS)
    floor, plain_page = measured["bare view, 304"], measured["plain page, nothing kept"]
    results.tell(
        "viewers",
        [_row(name, looked, floor, plain_page) for name, looked in measured.items()],
        notes=[
            "CPU in ms a viewer and cycle: of all processes of the server, of PostgreSQL, of both.",
            "goal: unchanged at most 1.5 of the floor, and 20 times cheaper than the plain page",
            "goal: p99 of 2,000 viewers below 100 ms, the load generator on the same two cores",
        ],
    )


def _plain_page(span: Span) -> Page:
    of_run = f"db=production&run={span.last_run}"
    asked = ("get_info&db=production", f"get_run&{of_run}", f"get_graph&{of_run}", "get_cluster_status")
    return Page([f"/api?what={what}" for what in asked], asks_if_changed=False)


def _look(made: Stage, server: Server, page: Page, cycles: int, *, viewers: int = _VIEWERS) -> Looked:
    return asyncio.run(_look_on(made, server, page, cycles, viewers))


async def _look_on(made: Stage, server: Server, page: Page, cycles: int, viewers: int) -> Looked:
    """Lets viewers look on: for some cycles until all of them know the page, then for those measured."""
    times_s: list[float] = []
    statuses: list[int] = []
    dice = random.Random(1)
    looking = [
        asyncio.create_task(_view(server.url, page, dice.uniform(0, _INTERVAL_S), times_s, statuses))
        for _ in range(viewers)
    ]
    await asyncio.sleep(2 * _INTERVAL_S)
    times_s.clear()
    statuses.clear()
    before = proc_usage.cpu_s(server.process.pid), proc_usage.cpu_s(made.postgres.process.pid)
    began_s = time.monotonic()
    await asyncio.sleep(cycles * _INTERVAL_S)
    seconds = time.monotonic() - began_s
    after = proc_usage.cpu_s(server.process.pid), proc_usage.cpu_s(made.postgres.process.pid)
    ended = [viewer.exception() for viewer in looking if viewer.done()]
    for viewer in looking:
        viewer.cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    if ended:
        raise RuntimeError(f"{len(ended)} viewers were left alone: {ended[0]!r}")
    return Looked(
        viewers=viewers,
        cycles=len(times_s) / len(page.paths) / viewers,
        seconds=seconds,
        times_s=times_s,
        unchanged=statuses.count(304),
        server_cpu_s=after[0] - before[0],
        postgres_cpu_s=after[1] - before[1],
    )


async def _view(url: str, page: Page, starts_s: float, times_s: list[float], statuses: list[int]) -> None:
    """One viewer, until cancelled: all that the page asks for, every few seconds."""
    visitor = Visitor(url)
    tags: dict[str, str | None] = {}
    loop = asyncio.get_running_loop()
    due_s = loop.time() + starts_s
    try:
        while True:
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            for path in page.paths:
                answer = await visitor.get(path, tags.get(path))
                if answer.status not in (200, 304):
                    raise RuntimeError(f"{path} was answered {answer.status}")
                if page.asks_if_changed and answer.tag is not None:
                    tags[path] = answer.tag
                times_s.append(answer.seconds)
                statuses.append(answer.status)
            due_s += _INTERVAL_S
    finally:
        visitor.leave()


@contextmanager
def _changing(settings: Settings, span: Span) -> Iterator[None]:
    """Meanwhile a job of the newest run reports once a second, and the grabber's heart beats."""
    ended = threading.Event()
    changing = threading.Thread(target=_change, args=(settings, span, ended))
    changing.start()
    try:
        yield
    finally:
        ended.set()
        changing.join()


def _change(settings: Settings, span: Span, ended: threading.Event) -> None:
    engine = db.engine(settings, Cluster.PRODUCTION, "benchmark", pool_size=1)
    identities = Pseudonymizer(settings.pseudonym_secret)
    writer = MirrorWriter(engine, uuid4())
    writer.take_over(identities.check_value())
    identity = identities.for_machine(FILTER_UNIT)
    machine = writer.register_machines({identity: default_label(FILTER_UNIT)})[identity]
    [simulated] = sample_jobs.simulated(1)
    job = replace(simulated, run=span.last_run, exit_code=None)
    revision, beat_at_s = 10**9, 0.0
    while not ended.wait(1.0):
        revision += 1
        now = datetime.now(UTC)
        origin = DocumentVersion(job.document.identity, revision, now)
        reported = replace(job, document=origin, lumisection=revision % 1000, lumisection_at=now)
        position = Checkpoint(0, revision, job.document.identity)
        writer.write_batch(Batch(machine.id, position, now, [to_row(reported, None)]))
        if time.monotonic() - beat_at_s >= _BEAT_EVERY_S:
            beat_at_s = time.monotonic()
            worked = LinkStatus(last_success_at=now)
            writer.write_heartbeat(ClusterLinks(worked, {machine.id: worked}, worked, (machine.id,)))
    engine.dispose()


def _row(name: str, looked: Looked, floor: Looked, plain: Looked) -> dict[str, Figure]:
    a_cycle = 1000 / (looked.viewers * looked.cycles)
    return {
        "": name,
        "viewers": looked.viewers,
        "requests/s": len(looked.times_s) / looked.seconds,
        "% 304": 100 * looked.unchanged / len(looked.times_s),
        "server": looked.server_cpu_s * a_cycle,
        "postgres": looked.postgres_cpu_s * a_cycle,
        "both": looked.cost_ms,
        "of the floor": looked.cost_ms / floor.cost_ms,
        "times cheaper": plain.cost_ms / looked.cost_ms,
        "p50 ms": percentile_ms(looked.times_s, 0.5),
        "p99 ms": percentile_ms(looked.times_s, 0.99),
    }


if __name__ == "__main__":
    main()
