"""Prometheus metrics of the server: all workers together, on a port of their own.

Each worker counts into files of its own in a shared directory, and the worker that is scraped adds up all of
them. A metric must have labels: only labelled ones choose where they count at first use, after `share`.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from dqmsquare_cfg import Cluster
from runtime import logging_setup, version
from storage import job_state
from storage.job_state import JobState
from storage.reader import MirrorReader
from storage.run_queries import RunFilter
from storage.schema import head_revision
from web.databases import ClusterDatabase
from web.errors import DatabaseUnavailable
from web.responses import SECURITY_HEADERS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

PATH = "/metrics"

_DIRECTORY_PREFIX = "server-metrics-"
# A job may crash at the end of its run, when the next one has begun already: one run is not enough.
_CRASH_RUNS = 20
# Names of clients come from DQM², so their number is bounded. No client can have the name of the remainder.
_MAX_CRASHED_CLIENTS = 100
_OTHER_CLIENTS = "(other)"
# Until a directory is locked it has another name, so that another server's start doesn't remove it.
_UNLOCKED = "new-"
# The library has a file for each type of metric of each process, whose size it doubles beyond this one.
_KINDS = ("counter", "histogram")
_FILE_BYTES = 512 * 1024

http_requests = Counter("dqmsquare_http_requests_total", "HTTP requests", ["route", "status"])
http_request_duration = Histogram(
    "dqmsquare_http_request_duration_seconds",
    "Time until the response was sent",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
response_cache_requests = Counter(
    "dqmsquare_response_cache_requests_total",
    "Requests for cacheable responses: served from memory (hit) or rendered (miss)",
    ["result"],
)


def count_request(route: str, status: str, seconds: float) -> None:
    """Count a request, of a route and a status that the program knows."""
    counter, histogram = _request_metrics(route, status)
    counter.inc()
    histogram.observe(seconds)


@cache
def _request_metrics(route: str, status: str) -> tuple[Counter, Histogram]:
    """The metrics with labels, which the library looks up at some cost."""
    return http_requests.labels(route, status), http_request_duration.labels(route)


@cache
def cache_result(result: str) -> Counter:
    """Counter of `response_cache_requests` by `hit` or `miss`."""
    return response_cache_requests.labels(result)


def share(parent: Path) -> Path:
    """Make this process and those it forks count into a new directory below `parent`; returns it.

    The directory is theirs as long as one of them lives: they hold a lock on it, which the kernel drops with
    the last of them. Directories of servers that were killed are removed here.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for directory in parent.glob(f"{_DIRECTORY_PREFIX}*"):
        _remove_if_unlocked(directory)
    new = Path(tempfile.mkdtemp(prefix=f"{_UNLOCKED}{_DIRECTORY_PREFIX}", dir=parent))
    # Never closed: the lock lasts as long as the processes.
    fcntl.flock(_open(new), fcntl.LOCK_SH)
    shared = new.rename(new.with_name(new.name.removeprefix(_UNLOCKED)))
    # The library's own way to share: this variable, and its class of values that are kept in files.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared)
    # It asks for the process at each count: without a cache that is a system call.
    process = cache(os.getpid)
    os.register_at_fork(after_in_child=process.cache_clear)
    values.ValueClass = values.MultiProcessValue(process)  # type: ignore[no-untyped-call]
    return shared


def reserve(directory: Path) -> None:
    """Reserve space on the disk for what this process counts; without space it counts for itself alone.

    The library's files have holes, and are written through memory: a full disk would end the process by
    SIGBUS when it counts its first request, and the one that is started in its place.
    """
    try:
        for kind in _KINDS:
            _reserve(directory / f"{kind}_{os.getpid()}.db")
    except OSError as error:
        log.warning("metrics_incomplete reason=%s", logging_setup.quote_value(error.strerror))
        values.ValueClass = values.MutexValue


class MetricsEndpoint:
    """WSGI application that serves `/metrics` and nothing else."""

    def __init__(self, shared: Path, databases: Mapping[Cluster, ClusterDatabase]) -> None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(shared))  # type: ignore[no-untyped-call]
        registry.register(MirrorCollector(databases))
        self._metrics: WSGIApplication = prometheus_client.make_wsgi_app(registry)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH:
            headers = [("Content-Type", "text/plain"), *SECURITY_HEADERS.items()]
            start_response("404 Not Found", headers)
            return [b"Only /metrics is here.\n"]

        def start(status: str, headers: list[tuple[str, str]]) -> object:
            return start_response(status, [*headers, *SECURITY_HEADERS.items()])

        return self._metrics(environ, start)  # type: ignore[arg-type]


class MirrorCollector(Collector):
    """Metrics that are read from the databases at each scrape."""

    def __init__(self, databases: Mapping[Cluster, ClusterDatabase]) -> None:
        self._databases = databases

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The program's version; of each database whether it is up, its jobs, and its mutes if known."""
        yield _build_info()
        up = GaugeMetricFamily("dqmsquare_database_up", "Whether the database answers", labels=["cluster"])
        jobs = GaugeMetricFamily(
            "dqmsquare_jobs", "Jobs of the newest run by state", labels=["cluster", "state"]
        )
        crashed = GaugeMetricFamily(
            "dqmsquare_crashed_jobs",
            f"Crashed jobs of the newest {_CRASH_RUNS} runs by client",
            labels=["cluster", "client"],
        )
        muted = GaugeMetricFamily(
            "dqmsquare_mutes",
            "Mutes in force: of a client as a whole, or of one crash of a client",
            labels=["cluster", "subject"],
        )
        families = ((jobs, _jobs_by_state), (crashed, _crashes_by_client), (muted, _mutes_by_subject))
        for cluster, database in self._databases.items():
            try:
                newest = database.uncached_reader().runs.span().highest
            except DatabaseUnavailable:
                up.add_metric([cluster], 0)
                continue
            up.add_metric([cluster], 1)
            for family, read in families:
                # A database that takes too long for one of them is up; the alert is for one that is not.
                with suppress(DatabaseUnavailable):
                    for label, count in read(database.uncached_reader(), newest).items():
                        family.add_metric([cluster, label], count)
        yield from (up, jobs, crashed, muted)


def _jobs_by_state(reader: MirrorReader, newest: int | None) -> Mapping[JobState, int]:
    run = None if newest is None else reader.runs.get(newest)
    return job_state.count_by_state(() if run is None else (job.state for job in run.jobs))


def _crashes_by_client(reader: MirrorReader, newest: int | None) -> Mapping[str, int]:
    if newest is None:
        return {}
    runs = reader.run_summaries.find(RunFilter(1, newest), below=None, limit=_CRASH_RUNS)
    crashes = Tally[str]()
    for run in runs:
        crashes.update({name: client.crashed for name, client in run.clients.items() if client.crashed})
    shown = dict(crashes.most_common(_MAX_CRASHED_CLIENTS))
    others = crashes.total() - sum(shown.values())
    return {**shown, _OTHER_CLIENTS: others} if others else shown


def _mutes_by_subject(reader: MirrorReader, _newest: int | None) -> Mapping[str, int]:
    mutes = reader.mutes.in_force()
    of_crashes = sum(mute.subject.crash_group is not None for mute in mutes)
    return {"client": len(mutes) - of_crashes, "crash": of_crashes}


def _build_info() -> GaugeMetricFamily:
    build = version.current()
    family = GaugeMetricFamily(
        "dqmsquare_build_info", "The program's version", labels=["version", "commit", "schema"]
    )
    family.add_metric([build.number, build.commit, head_revision()], 1)
    return family


def _reserve(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _FILE_BYTES)
    except OSError:
        # Readers take it for one with counts.
        path.unlink()
        raise
    finally:
        os.close(descriptor)


def _remove_if_unlocked(directory: Path) -> None:
    # It may be another user's, or gone by now.
    with suppress(OSError):
        descriptor = _open(directory)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(descriptor)


def _open(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
