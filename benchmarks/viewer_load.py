"""CPU of server and PostgreSQL per viewer and poll cycle of the live page.

200 viewers poll as the page's scripts do, first with nothing changing, then with one job report per second.
They are compared with a bare Flask view that answers 304, and with a page that makes four API requests per
cycle to a server without caches. Then 2000 viewers poll with one report per second. At the end 32 clients
request as fast as possible, for the maximum rate of a server.
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

import uvloop

import db
from benchmarks import cli, proc_usage, sample_jobs
from benchmarks.cli import Figure
from benchmarks.environment import FILTER_UNIT, BenchmarkEnvironment, Server, benchmark_environment
from benchmarks.http_load import HttpClient, percentile_ms
from benchmarks.large_database import Size, Span, fill
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqm2.records import DocumentVersion
from dqmsquare_cfg import Cluster, Settings
from storage.rows import Batch, Checkpoint, to_row
from storage.sync_status import ClusterLinks, LinkStatus
from storage.writer import MirrorWriter

_POLL_INTERVAL_S = 3.0
_VIEWERS, _MANY_VIEWERS = 200, 2000
_SIZE = Size(runs=300, runs_with_details=30, states=10_000)
_HEARTBEAT_INTERVAL_S = 5.0
_SATURATING_CLIENTS = 32
_SATURATION_S = 5.0


@dataclass(frozen=True, slots=True)
class Page:
    """The paths that a page polls, conditionally if `sends_etag`."""

    paths: Sequence[str]
    sends_etag: bool = True


# The fragments of the live page.
_LIVE = Page(("/live/run?db=production", "/live/freshness?db=production"))


@dataclass(frozen=True, slots=True)
class Measurement:
    """Responses to a number of viewers, and the CPU time used; `cycles` is the mean per viewer."""

    viewers: int
    cycles: float
    seconds: float
    times_s: Sequence[float]
    not_modified: int
    server_cpu_s: float
    postgres_cpu_s: float

    @property
    def cost_ms(self) -> float:
        """CPU of server and PostgreSQL per viewer and cycle."""
        return 1000 * (self.server_cpu_s + self.postgres_cpu_s) / (self.viewers * self.cycles)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one case after the other on this machine."""
    parser = cli.parser("viewer_load", __doc__)
    parser.add_argument("--cycles", type=cli.positive_int, default=10, help="poll cycles (3 s) to measure")
    cycles = parser.parse_args(arguments).cycles
    with benchmark_environment() as environment:
        settings = environment.settings()
        span = fill(settings, _SIZE)
        bare, uncached, mirror = (
            environment.bare_server(),
            environment.uncached_server(),
            environment.mirror_server(),
        )
        measured = {
            "bare view, 304": _measure(environment, bare, _LIVE, cycles),
            "plain page, uncached": _measure(environment, uncached, _plain_page(span), cycles),
            "unchanged": _measure(environment, mirror, _LIVE, cycles),
        }
        with reporting_job(settings, span):
            measured["one report per second"] = _measure(environment, mirror, _LIVE, cycles)
            measured["many, one report per second"] = _measure(
                environment, mirror, _LIVE, cycles, viewers=_MANY_VIEWERS
            )
        throughput = [
            _saturate("bare view, sync, 4 workers", environment.bare_sync_server(), "/x"),
            _saturate("bare view, gthread, 1 worker of 8 threads", bare, "/x"),
            _saturate("mirror, unchanged fragment", mirror, _LIVE.paths[0]),
            _saturate("mirror, a Flask view", mirror, f"/api?what=get_run&db=production&run={span.last_run}"),
        ]
    bare_view, plain_page = measured["bare view, 304"], measured["plain page, uncached"]
    cli.report(
        "viewer_load",
        [_row(name, measurement, bare_view, plain_page) for name, measurement in measured.items()],
        notes=[
            "CPU in ms per viewer and cycle: of all server processes, of PostgreSQL, of both.",
            "Goal: unchanged at most 1.5 × the bare view, and 20 × cheaper than the plain page.",
            "Goal: p99 of 2,000 viewers below 100 ms with the load generator on the same two cores.",
        ],
    )

    cli.report(
        "throughput",
        throughput,
        notes=[
            f"{_SATURATING_CLIENTS} clients, {_SATURATION_S:.0f} s. The load generator shares the machine:",
            "compare requests per CPU second of the server's processes.",
        ],
    )


def _saturate(name: str, server: Server, path: str) -> dict[str, Figure]:
    """Request a path as fast as possible, conditionally."""
    requests, cpu_s = uvloop.run(_request_at_once(server, path))
    return {"": name, "requests/s": requests / _SATURATION_S, "requests per CPU s": requests / cpu_s}


async def _request_at_once(server: Server, path: str) -> tuple[int, float]:
    """Number of responses within `_SATURATION_S`, and the server's CPU time for them."""
    clients = [HttpClient(server.url) for _ in range(_SATURATING_CLIENTS)]
    etags = [(await client.get(path)).etag for client in clients]
    cpu_before_s = proc_usage.cpu_s(server.process.pid)
    stop_at_s = time.monotonic() + _SATURATION_S

    async def request(client: HttpClient, etag: str | None) -> int:
        count = 0
        while time.monotonic() < stop_at_s:
            await client.get(path, etag)
            count += 1
        return count

    counts = await asyncio.gather(*map(request, clients, etags))
    cpu_s = proc_usage.cpu_s(server.process.pid) - cpu_before_s
    for client in clients:
        client.close()
    return sum(counts), cpu_s


def _plain_page(span: Span) -> Page:
    run = f"db=production&run={span.last_run}"
    requests = ("get_info&db=production", f"get_run&{run}", f"get_graph&{run}", "get_cluster_status")
    return Page([f"/api?what={what}" for what in requests], sends_etag=False)


def _measure(
    environment: BenchmarkEnvironment, server: Server, page: Page, cycles: int, *, viewers: int = _VIEWERS
) -> Measurement:
    postgres_pid = environment.postgres.process.pid
    return asyncio.run(_measure_viewers(server, postgres_pid, page, cycles, viewers))


async def _measure_viewers(
    server: Server, postgres_pid: int, page: Page, cycles: int, viewers: int
) -> Measurement:
    """Start the viewers, wait two cycles until all have the page, then measure."""
    times_s: list[float] = []
    statuses: list[int] = []
    rng = random.Random(1)
    tasks = [
        asyncio.create_task(_view(server.url, page, rng.uniform(0, _POLL_INTERVAL_S), times_s, statuses))
        for _ in range(viewers)
    ]
    await asyncio.sleep(2 * _POLL_INTERVAL_S)
    times_s.clear()
    statuses.clear()
    before = proc_usage.cpu_s(server.process.pid), proc_usage.cpu_s(postgres_pid)
    started_at_s = time.monotonic()
    await asyncio.sleep(cycles * _POLL_INTERVAL_S)
    seconds = time.monotonic() - started_at_s
    after = proc_usage.cpu_s(server.process.pid), proc_usage.cpu_s(postgres_pid)
    failures = [task.exception() for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if failures:
        raise RuntimeError(f"{len(failures)} viewers failed: {failures[0]!r}")
    return Measurement(
        viewers=viewers,
        cycles=len(times_s) / len(page.paths) / viewers,
        seconds=seconds,
        times_s=times_s,
        not_modified=statuses.count(304),
        server_cpu_s=after[0] - before[0],
        postgres_cpu_s=after[1] - before[1],
    )


async def _view(url: str, page: Page, delay_s: float, times_s: list[float], statuses: list[int]) -> None:
    """Poll the page as one viewer until cancelled."""
    client = HttpClient(url)
    etags: dict[str, str | None] = {}
    loop = asyncio.get_running_loop()
    due_at_s = loop.time() + delay_s
    try:
        while True:
            await asyncio.sleep(max(0.0, due_at_s - loop.time()))
            for path in page.paths:
                response = await client.get(path, etags.get(path))
                if response.status not in (200, 304):
                    raise RuntimeError(f"status {response.status} for {path}")
                if page.sends_etag and response.etag is not None:
                    etags[path] = response.etag
                times_s.append(response.seconds)
                statuses.append(response.status)
            due_at_s += _POLL_INTERVAL_S
    finally:
        client.close()


@contextmanager
def reporting_job(settings: Settings, span: Span) -> Iterator[None]:
    """A job of the newest run that reports once per second, with a grabber's heartbeat."""
    stop = threading.Event()
    thread = threading.Thread(target=_report_job, args=(settings, span, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _report_job(settings: Settings, span: Span, stop: threading.Event) -> None:
    engine = db.engine(settings, Cluster.PRODUCTION, "benchmark", pool_size=1)
    pseudonyms = Pseudonymizer(settings.pseudonym_secret)
    writer = MirrorWriter(engine, uuid4())
    writer.take_over(pseudonyms.check_value())
    identity = pseudonyms.for_machine(FILTER_UNIT)
    machine = writer.register_machines({identity: default_label(FILTER_UNIT)})[identity]
    [sample] = sample_jobs.simulated(1)
    job = replace(sample, run=span.last_run, exit_code=None)
    revision, heartbeat_at_s = 10**9, 0.0
    while not stop.wait(1.0):
        revision += 1
        now = datetime.now(UTC)
        version = DocumentVersion(job.document.identity, revision, now)
        reported = replace(job, document=version, lumisection=revision % 1000, lumisection_at=now)
        checkpoint = Checkpoint(0, revision, job.document.identity)
        writer.write_batch(Batch(machine.id, checkpoint, now, [to_row(reported, None)]))
        if time.monotonic() - heartbeat_at_s >= _HEARTBEAT_INTERVAL_S:
            heartbeat_at_s = time.monotonic()
            link = LinkStatus(last_success_at=now)
            writer.write_heartbeat(ClusterLinks(link, {machine.id: link}, link, (machine.id,)))
    engine.dispose()


def _row(name: str, measured: Measurement, bare: Measurement, plain: Measurement) -> dict[str, Figure]:
    ms_per_cpu_s = 1000 / (measured.viewers * measured.cycles)
    return {
        "": name,
        "viewers": measured.viewers,
        "requests/s": len(measured.times_s) / measured.seconds,
        "% 304": 100 * measured.not_modified / len(measured.times_s),
        "server": measured.server_cpu_s * ms_per_cpu_s,
        "PostgreSQL": measured.postgres_cpu_s * ms_per_cpu_s,
        "both": measured.cost_ms,
        "× bare view": measured.cost_ms / bare.cost_ms,
        "× cheaper": plain.cost_ms / measured.cost_ms,
        "p50 ms": percentile_ms(measured.times_s, 0.5),
        "p99 ms": percentile_ms(measured.times_s, 0.99),
    }


if __name__ == "__main__":
    main()
