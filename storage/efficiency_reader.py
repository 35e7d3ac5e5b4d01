"""Queries about the efficiency of clients: their runs by month, release or run key.

Everything is computed from the rows of jobs, which are never deleted. A job that crashed and was restarted
counts the lumisections up to the newest that any of its client's jobs reached.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

import db
from dqmsquare_cfg import EXPERIMENT_ZONE
from storage import run_queries
from storage.client_names import client_name
from storage.database_reader import DatabaseReader
from storage.job_state import LOST_AFTER
from storage.run_queries import RunFilter

# About a year; more take longer than a page may.
MAX_RUNS = 6000
_TIMEOUT_S = 10

_jobs, _runs = db.jobs.c, db.runs.c


class Grouping(StrEnum):
    """The periods in which runs are grouped."""

    MONTH = "month"
    RELEASE = "release"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class ClientEfficiency:
    """A client in the runs of a period.

    `period`: a month such as `2026-05`, a release or a run key; `None` for runs of which it is not known.
    `runs` are those that have ended for the client, `finished` those that a job of it finished. `jobs` and
    `crashes` are of these runs. `lumisections` are those of the runs of which it had input, `lost` those that
    it skipped or that came after its last crash. `unknown_lumisections` are those of runs that it did not
    finish and of which it reached no lumisection: whether its stream was in them is not known.
    `peak_rss_kb` is the median of the resident memory of its largest job by run, `events_per_s` the mean over
    the life of its jobs; `None` for what is unknown.
    """

    client: str
    period: str | None
    first_run: int
    last_run: int
    runs: int
    finished: int
    jobs: int
    crashes: int
    lumisections: int
    lost: int
    unknown_lumisections: int
    peak_rss_kb: float | None
    events_per_s: float | None

    @property
    def name(self) -> str:
        """The client's name as users know it."""
        return client_name(self.client)

    @property
    def restarts(self) -> int:
        """Jobs that followed another one of the client in the same run."""
        return self.jobs - self.runs

    @property
    def finished_share(self) -> float | None:
        """Share of the runs that it finished."""
        return self.finished / self.runs if self.runs else None

    @property
    def availability(self) -> float | None:
        """Share of the lumisections that it monitored."""
        return 1 - self.lost / self.lumisections if self.lumisections else None


@dataclass(frozen=True, slots=True)
class EfficiencyRange:
    """The runs that were counted: their number, and the lowest; `has_more`: older ones were left out."""

    runs: int
    first: int
    has_more: bool


class EfficiencyReader(DatabaseReader):
    """Reads the efficiency of a cluster's clients."""

    def counted_runs(self, run_filter: RunFilter) -> EfficiencyRange:
        """The newest runs that match a filter, as many as can be counted."""
        newest = run_queries.select_newest_runs(run_filter, below=None, limit=MAX_RUNS + 1)
        numbers = newest.subquery().c.run
        counted = newest.limit(MAX_RUNS).subquery().c.run
        count = sa.select(sa.func.count(numbers)).scalar_subquery()
        lowest = sa.select(sa.func.min(counted)).scalar_subquery()
        options = {"response_timeout_s": _TIMEOUT_S}
        with self._database.connect() as connection:
            found, first = connection.execute(sa.select(count, lowest), execution_options=options).one()
        return EfficiencyRange(min(found, MAX_RUNS), first or max(1, run_filter.first), found > MAX_RUNS)

    def of_clients(self, run_filter: RunFilter, grouping: Grouping) -> list[ClientEfficiency]:
        """The efficiency of each client in each period, by client and by the first run of the period.

        The filter must not have more than `MAX_RUNS` runs. Ongoing runs are left out.
        """
        statement = _select_efficiency(run_filter, grouping, datetime.now(UTC))
        options = {"response_timeout_s": _TIMEOUT_S}
        with self._database.connect() as connection:
            rows = connection.execute(statement, execution_options=options).all()
        return [ClientEfficiency(**row._asdict()) for row in rows]


def _select_efficiency(run_filter: RunFilter, grouping: Grouping, now: datetime) -> sa.Select[Any]:
    of_run = _select_clients_of_runs(run_filter, now).subquery().c
    run_ls = sa.func.max(of_run.reached).over(partition_by=of_run.run).label("run_ls")
    run_start = sa.func.min(of_run.started_at).over(partition_by=of_run.run).label("run_start")
    each = sa.select(*of_run, run_ls, run_start).subquery().c
    period = _period(grouping, each)
    # A client whose stream is not in the run has no input, and loses nothing. No report names that stream.
    has_input = each.reached > 0
    is_unknown = sa.not_(sa.or_(has_input, each.finished))
    not_reached = sa.case((each.finished, 0), else_=each.run_ls - each.reached)
    lost = sa.func.least(each.run_ls, each.skipped + not_reached)
    seconds = sa.func.sum(each.seconds).filter(each.events.is_not(None))
    # Not a condition on jobs: the lumisections of a run are those of all its clients.
    tags = run_filter.client_tags
    is_wanted = [] if tags is None else [each.client.in_(tags)]
    return (
        sa.select(
            each.client,
            period.label("period"),
            sa.func.min(each.run).label("first_run"),
            sa.func.max(each.run).label("last_run"),
            sa.func.count().label("runs"),
            sa.func.count().filter(each.finished).label("finished"),
            sa.cast(sa.func.sum(each.jobs), sa.Integer).label("jobs"),
            sa.cast(sa.func.sum(each.crashes), sa.Integer).label("crashes"),
            sa.cast(_sum_or_zero(each.run_ls, has_input), sa.Integer).label("lumisections"),
            sa.cast(_sum_or_zero(lost, has_input), sa.Integer).label("lost"),
            sa.cast(_sum_or_zero(each.run_ls, is_unknown), sa.Integer).label("unknown_lumisections"),
            sa.func.percentile_cont(0.5).within_group(each.rss_kb).label("peak_rss_kb"),
            sa.cast(sa.func.sum(each.events) / sa.func.nullif(seconds, 0), sa.Double).label("events_per_s"),
        )
        .where(each.is_over, *is_wanted)
        .group_by(each.client, period)
        .order_by(each.client, sa.func.min(each.run))
    )


def _select_clients_of_runs(run_filter: RunFilter, now: datetime) -> sa.Select[Any]:
    """Select a row for each client of each run."""
    is_open = sa.and_(_jobs.exit_code.is_(None), _jobs.updated_at > now - LOST_AFTER)
    life = sa.extract("epoch", _jobs.updated_at - _jobs.started_at)
    # If a clock was set back, it is not known how long the job ran.
    is_timed = _jobs.started_at < _jobs.updated_at
    statement = sa.select(
        _jobs.run,
        _jobs.client,
        sa.func.count().label("jobs"),
        sa.func.count().filter(_jobs.exit_code != 0).label("crashes"),
        sa.func.coalesce(sa.func.bool_or(_jobs.exit_code == 0), sa.false()).label("finished"),
        sa.not_(sa.func.bool_or(is_open)).label("is_over"),
        sa.func.coalesce(sa.func.max(_jobs.lumisection), 0).label("reached"),
        # A restarted job skips what its predecessor has seen, so the least is nearest to the truth.
        sa.func.min(_jobs.lumisections_skipped).label("skipped"),
        sa.func.max(_jobs.rss_kb).label("rss_kb"),
        sa.func.sum(_jobs.events_total).filter(is_timed).label("events"),
        sa.func.sum(life).filter(is_timed).label("seconds"),
        sa.func.min(_jobs.started_at).label("started_at"),
    ).where(_jobs.run.between(run_filter.first, run_filter.last), *_of_runs(run_filter))
    return statement.group_by(_jobs.run, _jobs.client)


def _of_runs(run_filter: RunFilter) -> Collection[sa.ColumnElement[bool]]:
    conditions = list(run_queries.ran_between(run_filter.since, run_filter.until))
    described = [
        column.in_(values)
        for column, values in (
            (_runs.run_key, run_filter.run_keys),
            (_runs.cmssw_version, run_filter.cmssw_versions),
        )
        if values is not None
    ]
    if described:
        in_range = _runs.run.between(run_filter.first, run_filter.last)
        conditions.append(_jobs.run.in_(sa.select(_runs.run).where(in_range, *described)))
    return conditions


def _period(grouping: Grouping, each: Any) -> sa.ColumnElement[str]:
    match grouping:
        case Grouping.MONTH:
            local = sa.func.timezone(EXPERIMENT_ZONE.key, each.run_start)
            return sa.func.to_char(local, sa.literal_column("'YYYY-MM'"))
        case Grouping.RELEASE:
            return run_queries.of_run(_runs.cmssw_version, each.run)
        case Grouping.KEY:
            return run_queries.of_run(_runs.run_key, each.run)


def _sum_or_zero(value: sa.ColumnElement[Any], condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(value).filter(condition), 0)
