"""Addresses of everything that a visitor can ask for, of runs and jobs that are there."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

import db
from benchmarks.large_database import Span
from dqmsquare_cfg import Cluster, Settings

# A year is a tenth of what is filled in.
_YEARS = 10
_USUAL_RANGE = 1000
_NEWEST_WITH_DETAILS = 1000
_JOBS = 500


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses below a server's own, of a database of so many runs and of some jobs that have logs."""

    span: Span
    jobs: Sequence[UUID]
    dice: random.Random

    @property
    def run(self) -> int:
        """A run, each time another."""
        return self.dice.randrange(self.span.first_run + _USUAL_RANGE, self.span.last_run)

    @property
    def job(self) -> UUID:
        """A job, each time another."""
        return self.dice.choice(self.jobs)

    def runs(self, count: int) -> str:
        """The parameters of a range of so many runs, each time another."""
        last = self.dice.randrange(
            min(self.span.first_run + count, self.span.last_run), self.span.last_run + 1
        )
        return f"db=production&from={last - count}&to={last}"

    @property
    def year(self) -> int:
        """How many runs a year has."""
        return (self.span.last_run - self.span.first_run) // _YEARS


Make = Callable[[Addresses], str]

# What is the newest is the same however often it is asked for.
NEWEST: Mapping[str, Make] = {
    "/": lambda _: "/?db=production",
    "/live/run": lambda _: "/live/run?db=production",
    "/live/freshness": lambda _: "/live/freshness?db=production",
    "/cluster/": lambda _: "/cluster/?db=production",
    "/cluster/fragment": lambda _: "/cluster/fragment?db=production",
    "get_info": lambda _: "/api?what=get_info&db=production",
    "get_cluster_status": lambda _: "/api?what=get_cluster_status&cluster=production",
}
OF_RUNS: Mapping[str, Make] = {
    "/ of a run": lambda some: f"/?db=production&run={some.run}",
    "/live/run of a run": lambda some: f"/live/run?db=production&run={some.run}",
    "/live/delivery": lambda some: f"/live/delivery?db=production&run={some.run}",
    "/job/…": lambda some: f"/job/{some.job}?db=production",
    "/job/…/fragment": lambda some: f"/job/{some.job}/fragment?db=production",
    "/job/…/series": lambda some: f"/job/{some.job}/series?db=production",
    "/job/…/log.txt": lambda some: f"/job/{some.job}/log.txt?db=production",
    "get_run": lambda some: f"/api?what=get_run&db=production&run={some.run}",
    "get_graph": lambda some: f"/api?what=get_graph&db=production&run={some.run}",
    "get_logs": lambda some: f"/api?what=get_logs&db=production&id={some.job}",
}
OF_RANGES: Mapping[str, Make] = {
    "/timeline/": lambda some: f"/timeline/?{some.runs(_USUAL_RANGE)}",
    "/timeline/, a client's year": lambda some: f"/timeline/?{some.runs(some.year)}&client=beam",
    "/statistics/": lambda some: f"/statistics/?{some.runs(_USUAL_RANGE)}",
    "/statistics/ of a run": lambda some: f"/statistics/?{some.runs(0)}",
    "get_clients of 1000 runs": lambda some: f"/api?what=get_clients&{some.runs(_USUAL_RANGE)}",
    "get_runs of 100 runs": lambda some: f"/api?what=get_runs&{some.runs(100)}",
}


def addresses(settings: Settings, span: Span) -> Addresses:
    """Addresses of a database that was filled."""
    engine = db.engine(settings, Cluster.PRODUCTION, "benchmark")
    table = db.jobs.c
    statement = (
        sa.select(table.identity)
        .where(table.run > span.last_run - _NEWEST_WITH_DETAILS)
        .order_by(table.identity)
        .limit(_JOBS)
    )
    with engine.connect() as connection:
        jobs = connection.scalars(statement).all()
    engine.dispose()
    return Addresses(span, jobs, random.Random(1))
