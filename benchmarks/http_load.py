"""HTTP load: a cheap client with a persistent connection, and the URLs of all pages and API calls."""

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID

import sqlalchemy as sa

import db
from benchmarks.large_database import Span
from dqmsquare_cfg import Cluster, Settings

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: close", re.IGNORECASE)
_ETAG = re.compile(rb"\r\netag: ([^\r]+)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"

# The database holds ten years.
_YEARS = 10
_RANGE = 1000
_RUNS_WITH_DETAILS = 1000
_MAX_JOBS = 500
# Texts that are searched for in logs.
_SEARCHES = {
    "a line of all logs": "opened+file",
    "a line of crashes": "exception+of+category+ProductNotFound",
    "a word of nearly all lines": "file",
    "an unknown word": "unheard",
    "a number that no log has": "category+ProductNotFound+424242",
}


@dataclass(frozen=True, slots=True)
class Response:
    """Status, ETag and body size of a response, and the seconds that it took."""

    status: int
    etag: str | None
    size: int
    seconds: float


class HttpClient(asyncio.Protocol):
    """Client with one connection to the server at `url`, opened again when the server closes it."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._complete: asyncio.Future[None] | None = None

    async def get(self, path: str, etag: str | None = None) -> Response:
        """Request a path, with `If-None-Match` if `etag` is given. Raises ConnectionError."""
        if self._transport is None:
            await asyncio.get_running_loop().create_connection(lambda: self, self._host, self._port)
        assert self._transport is not None
        condition = "" if etag is None else f"If-None-Match: {etag}\r\n"
        self._received.clear()
        self._complete = asyncio.get_running_loop().create_future()
        started_at_s = time.perf_counter()
        self._transport.write(
            f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept-Encoding: gzip\r\n{condition}\r\n".encode()
        )
        await self._complete
        seconds = time.perf_counter() - started_at_s
        head = bytes(self._received.partition(_HEAD_END)[0])
        if _CLOSE.search(head):
            self.close()
            self._transport = None
        found = _ETAG.search(head)
        return Response(
            int(head[9:12]), found[1].decode() if found else None, len(self._received) - len(head), seconds
        )

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the open connection."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect a piece of the response."""
        self._received += data
        if self._complete is not None and not self._complete.done() and _is_complete(self._received):
            self._complete.set_result(None)

    def connection_lost(self, _error: Exception | None) -> None:
        """Fail the pending request, if there is one."""
        self._transport = None
        if self._complete is not None and not self._complete.done():
            self._complete.set_exception(ConnectionError("the server closed the connection"))


def percentile_ms(seconds: Sequence[float], fraction: float) -> float:
    """A percentile of durations, in milliseconds."""
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def _is_complete(received: bytearray) -> bool:
    head_end = received.find(_HEAD_END)
    if head_end < 0:
        return False
    head = bytes(received[:head_end])
    body_start = head_end + len(_HEAD_END)
    length = _CONTENT_LENGTH.search(head)
    if length is not None:
        return len(received) - body_start >= int(length[1])
    return received.endswith(_LAST_CHUNK, body_start) if _CHUNKED.search(head) else True


@dataclass(frozen=True, slots=True)
class Targets:
    """Random runs, ranges, jobs and crashes of a database; each access draws again. The jobs have logs."""

    span: Span
    jobs: Sequence[UUID]
    crash_groups: Sequence[str]
    rng: random.Random

    @property
    def run(self) -> int:
        """A run that has ended, if possible with a range of runs before it."""
        ended = range(self.span.first_run, max(self.span.last_run, self.span.first_run + 1))
        return self.rng.choice(ended[_RANGE:] or ended)

    @property
    def job(self) -> UUID:
        """A job."""
        return self.rng.choice(self.jobs)

    @property
    def crash_group(self) -> str:
        """The signature of a group of crashes."""
        return self.rng.choice(self.crash_groups)

    def draw(self, count: int) -> int:
        """A number below `count`."""
        return self.rng.randrange(count)

    def range(self, count: int) -> str:
        """Query parameters of a range of `count` runs."""
        newest = max(self.span.last_run - count + 1, self.span.first_run)
        first = self.rng.randint(self.span.first_run, newest)
        return f"db=production&from={first}&to={first + count - 1}"

    @property
    def runs_per_year(self) -> int:
        """Number of runs in a year."""
        return (self.span.last_run - self.span.first_run) // _YEARS


MakeUrl = Callable[[Targets], str]

# Always the same URLs.
NEWEST: Mapping[str, MakeUrl] = {
    "/": lambda _: "/?db=production",
    "/live/run": lambda _: "/live/run?db=production",
    "/live/freshness": lambda _: "/live/freshness?db=production",
    "/cluster/": lambda _: "/cluster/?db=production",
    "/cluster/fragment": lambda _: "/cluster/fragment?db=production",
    "get_info": lambda _: "/api?what=get_info&db=production",
    "get_cluster_status": lambda _: "/api?what=get_cluster_status&cluster=production",
}
OF_RUNS: Mapping[str, MakeUrl] = {
    "/ of a run": lambda targets: f"/?db=production&run={targets.run}",
    "/live/run of a run": lambda targets: f"/live/run?db=production&run={targets.run}",
    "/live/delivery": lambda targets: f"/live/delivery?db=production&run={targets.run}",
    "/job/…": lambda targets: f"/job/{targets.job}?db=production",
    "/job/…/fragment": lambda targets: f"/job/{targets.job}/fragment?db=production",
    "/job/…/series": lambda targets: f"/job/{targets.job}/series?db=production",
    "/job/…/log.txt": lambda targets: f"/job/{targets.job}/log.txt?db=production",
    "get_run": lambda targets: f"/api?what=get_run&db=production&run={targets.run}",
    "get_graph": lambda targets: f"/api?what=get_graph&db=production&run={targets.run}",
    "get_logs": lambda targets: f"/api?what=get_logs&db=production&id={targets.job}",
}
OF_RANGES: Mapping[str, MakeUrl] = {
    "/timeline/": lambda targets: f"/timeline/?{targets.range(_RANGE)}",
    "/timeline/, a client's year": lambda targets: (
        f"/timeline/?{targets.range(targets.runs_per_year)}&client=beam"
    ),
    "/statistics/": lambda targets: f"/statistics/?{targets.range(_RANGE)}",
    "/statistics/ of a run": lambda targets: f"/statistics/?{targets.range(1)}",
    "get_clients of 1000 runs": lambda targets: f"/api?what=get_clients&{targets.range(_RANGE)}",
    "get_runs of 100 runs": lambda targets: f"/api?what=get_runs&{targets.range(100)}",
}


def _search_url(text: str, targets: Targets) -> str:
    return f"/crashes/search?db=production&q={text}&to={targets.span.last_run - targets.draw(99)}"


OF_CRASHES: Mapping[str, MakeUrl] = {
    "/crashes/": lambda targets: f"/crashes/?db=production&to={targets.span.last_run - targets.draw(99)}",
    "/crashes/ of a client": lambda targets: (
        f"/crashes/?db=production&client=csc&to={targets.span.last_run - targets.draw(99)}"
    ),
    "/crashes/ of a run key": lambda targets: (
        f"/crashes/?db=production&run_key=hi&to={targets.span.last_run - targets.draw(99)}"
    ),
    "/crashes/ of 1000 runs": lambda targets: f"/crashes/?{targets.range(_RANGE)}",
    "/crashes/…": lambda targets: f"/crashes/{targets.crash_group}?db=production",
    **{f"/crashes/search, {name}": partial(_search_url, text) for name, text in _SEARCHES.items()},
    "/crashes/search of a client": lambda targets: (
        f"/crashes/search?{targets.range(_RANGE)}&client=csc&q=exception"
    ),
}


def load_targets(settings: Settings, span: Span) -> Targets:
    """Targets in a filled database."""
    engine = db.engine(settings, Cluster.PRODUCTION, "benchmark")
    table = db.jobs.c
    statement = (
        sa.select(table.identity)
        .where(table.run > span.last_run - _RUNS_WITH_DETAILS)
        .order_by(table.identity)
        .limit(_MAX_JOBS)
    )
    with engine.connect() as connection:
        jobs = connection.scalars(statement).all()
        of_jobs = sa.select(table.crash_group).where(table.crash_group.is_not(None)).distinct()
        crash_groups = connection.scalars(of_jobs.order_by(table.crash_group)).all()
    engine.dispose()
    return Targets(span, jobs, crash_groups, random.Random(1))
