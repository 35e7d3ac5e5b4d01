"""What the server counts, for Prometheus: all workers together, on a port of their own.

Each worker counts into files of its own in a private folder, and whichever is asked adds up all of them. A
metric must have labels: only those choose where they count when they are first used, after `share`.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

import db
from dqmsquare_cfg import Cluster
from runtime import version
from storage import job_state
from web import metrics_folder
from web.away import DatabaseAway
from web.databases import ClusterDatabase

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/metrics"

requests = Counter("dqmsquare_requests_total", "Requests answered", ["route", "status"])
request_seconds = Histogram(
    "dqmsquare_request_seconds",
    "Time until a request's answer was sent",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
kept_answers = Counter(
    "dqmsquare_kept_answers_total",
    "Answers of pages and the API that could be given again: made, or kept from when they were",
    ["outcome"],
)


def share(folder: Path) -> Path:
    """Makes this process and those that it forks count into a new folder below `folder`, which it returns."""
    shared = metrics_folder.make(folder)
    # The library's own way to share: this variable, and its class of values that are kept in files.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared)
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    return shared


class MetricsEndpoint:
    """A WSGI application that answers `/metrics` and nothing else."""

    def __init__(self, shared: Path, databases: Mapping[Cluster, ClusterDatabase]) -> None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(shared))  # type: ignore[no-untyped-call]
        registry.register(MirrorCollector(databases))
        self._answer: WSGIApplication = prometheus_client.make_wsgi_app(registry)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Only /metrics is here.\n"]
        return self._answer(environ, start_response)


class MirrorCollector(Collector):
    """What the databases say at the moment they are asked."""

    def __init__(self, databases: Mapping[Cluster, ClusterDatabase]) -> None:
        self._databases = databases

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The program's version, and of each database whether it answers and the jobs of its newest run."""
        yield _versions()
        answers = GaugeMetricFamily(
            "dqmsquare_database_up", "Whether the database answers", labels=["cluster"]
        )
        jobs = GaugeMetricFamily(
            "dqmsquare_jobs", "Jobs of the newest run by state", labels=["cluster", "state"]
        )
        for cluster, database in self._databases.items():
            try:
                counted = _jobs_by_state(database)
            except DatabaseAway:
                answers.add_metric([cluster], 0)
                continue
            answers.add_metric([cluster], 1)
            for state, count in counted.items():
                jobs.add_metric([cluster, state], count)
        yield answers
        yield jobs


def _jobs_by_state(database: ClusterDatabase) -> Mapping[job_state.JobState, int]:
    reader = database.reader()
    newest = reader.run_span().highest
    run = None if newest is None else reader.run(newest)
    return job_state.count_by_state(() if run is None else (job.state for job in run.jobs))


def _versions() -> GaugeMetricFamily:
    made = version.current()
    family = GaugeMetricFamily(
        "dqmsquare_build_info", "Which program this is", labels=["version", "commit", "schema"]
    )
    family.add_metric([made.number, made.commit, db.head_revision()], 1)
    return family
