"""Queries that compare a run of the playback cluster with a reference: its choice, and the clients' work.

Series are stored for as long as `JOB_LOG_RETENTION_DAYS` says. What follows from them is `None` after that.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from math import fsum, sqrt
from operator import attrgetter
from statistics import fmean, linear_regression, median
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa

import db
from dqm2.records import EventSeries, InputStatuses, MemorySeries
from storage import run_queries
from storage.database_reader import DatabaseReader
from storage.job_state import JobState
from storage.read_models import Job, Run
from storage.rows import MAX_POINTS
from storage.run_reader import RunReader, count_skipped
from storage.stored_series import JobSeries, unpack_job

# Earlier runs that are searched for a reference.
_MAX_CANDIDATES = 200
# Memory grows while the first lumisections are processed: conditions are loaded, plots are booked.
_WARM_UP_LS = 10
# With fewer points the slope means nothing.
_MIN_LS_OF_GROWTH = 20

_Series = TypeVar("_Series", MemorySeries, EventSeries, InputStatuses)

_runs, _jobs, _playbacks, _details = db.runs.c, db.jobs.c, db.playbacks.c, db.job_details.c


@dataclass(frozen=True, slots=True)
class ClientPerformance:
    """Work of a client in a run, over all its jobs; `None` for what is unknown.

    `crashes`: jobs that crashed. `state` is that of the newest job. `lumisections`: the newest that it
    reached; `compared`: that up to which the following figures are. `events_per_s`: of its events, by the
    time in which its jobs ran. `peak_rss_kb`: the highest resident memory. `growth_kb_per_ls`: slope of the
    resident memory of the longest job after its first lumisections, with its standard error.
    `ls_duration_ms`: median time for a lumisection. `skipped`: lumisections that no job saw.
    """

    name: str
    state: JobState
    jobs: int
    crashes: int
    crash_groups: tuple[str, ...]
    lumisections: int
    compared: int
    events: float | None
    events_per_s: float | None
    peak_rss_kb: int | None
    growth_kb_per_ls: float | None
    growth_error_kb_per_ls: float | None
    ls_duration_ms: float | None
    skipped: int | None

    @property
    def events_per_ls(self) -> float | None:
        """Events per lumisection; `None` without either."""
        return None if self.events is None or not self.compared else self.events / self.compared


class PlaybackComparisonReader(DatabaseReader):
    """Reads what runs of the playback cluster are compared by; `runs` reads the runs themselves."""

    def __init__(self, database: sa.Engine, runs: RunReader) -> None:
        super().__init__(database)
        self._runs = runs

    def reference_run(self, run: int) -> int | None:
        """The run with which a run is compared by default; `None` if there is none.

        It is the last one before that played the same source run with the same run key and another release.
        If there is none, it is the last one with the same run key that reached a lumisection and in which no
        job crashed.
        """
        with self._database.connect() as connection:
            described = connection.execute(
                sa.select(_runs.run_key, _runs.cmssw_version).where(_runs.run == run)
            ).one_or_none()
            if described is None or described.run_key is None:
                return None
            found: int | None = connection.scalar(_same_source(run, described)) or connection.scalar(
                _last_good(run, described)
            )
        return found

    def client_performance(self, run: int, other: int | None = None) -> tuple[ClientPerformance, ...]:
        """The work of each client of a run, by name; empty if nothing of it is mirrored.

        `other`: a run that it is compared with. Figures are then of the lumisections that the client reached
        in both: the same data are played, whose lumisections differ, and memory grows ever more slowly.
        """
        found = self._runs.get(run)
        if found is None:
            return ()
        compared = None if other is None else self._runs.get(other)
        until = {} if compared is None else _reached(compared)
        statement = (
            sa.select(_details.identity, _details.memory, _details.events, _details.input_statuses)
            .join(db.jobs, _jobs.identity == _details.identity)
            .where(_jobs.run == run)
        )
        with self._database.connect() as connection:
            details = {row.identity: unpack_job(row) for row in connection.execute(statement)}
        return tuple(_performances(found, details, until))


def _same_source(run: int, described: Any) -> sa.Select[Any]:
    source = sa.select(sa.func.max(_playbacks.source_run)).where(_playbacks.run == run).scalar_subquery()
    return (
        sa.select(_playbacks.run)
        .join_from(db.playbacks, db.runs, _runs.run == _playbacks.run)
        .where(
            _playbacks.source_run == source,
            _playbacks.run < run,
            _runs.run_key == described.run_key,
            _runs.cmssw_version.is_not(None),
            _runs.cmssw_version.is_distinct_from(described.cmssw_version),
            sa.exists().where(_jobs.run == _playbacks.run, _jobs.lumisection > 0),
        )
        .order_by(_playbacks.run.desc())
        .limit(1)
    )


def _last_good(run: int, described: Any) -> sa.Select[Any]:
    candidates = run_queries.select_runs_with_key(
        described.run_key, before=run, limit=_MAX_CANDIDATES
    ).subquery()
    number = candidates.c.run
    return (
        sa.select(number)
        .where(
            sa.exists().where(_jobs.run == number, _jobs.lumisection > 0),
            ~sa.exists().where(_jobs.run == number, _jobs.exit_code != 0),
        )
        .order_by(number.desc())
        .limit(1)
    )


@dataclass(frozen=True, slots=True)
class _JobSeries:
    """A job and its series, empty if they are not stored or damaged.

    `is_cut`: only what came up to a lumisection.
    """

    job: Job
    memory: MemorySeries
    events: EventSeries
    inputs: InputStatuses
    is_downsampled: bool
    is_cut: bool = False

    def until(self, lumisection: int) -> "_JobSeries":
        """The series up to a lumisection."""
        end = bisect_right(self.events.lumisections, lumisection)
        if end == len(self.events.lumisections):
            return self
        last_s = self.events.at_s[end - 1] if end else 0
        return _JobSeries(
            self.job,
            _first(self.memory, bisect_right(self.memory.at_s, last_s)),
            _first(self.events, end),
            _first(self.inputs, bisect_right(self.inputs.lumisections, lumisection)),
            self.is_downsampled,
            is_cut=True,
        )

    @property
    def event_count(self) -> float | None:
        """Events of the job; `None` if they are unknown."""
        if not self.is_cut:
            return self.job.events_total
        if not self.is_downsampled:
            return sum(self.events.events)
        # The series has only some lumisections.
        seen = sum(not status.is_skipped for status in self.inputs.statuses)
        return fmean(self.events.events) * seen if self.events.events else 0

    @property
    def seconds(self) -> float:
        """Time in which the job ran; 0 if it is unknown, as it is if a clock was set back."""
        ended_s = self.job.updated_at.timestamp()
        if self.is_cut:
            ended_s = self.events.at_s[-1] if self.events.at_s else 0.0
        return max(0.0, ended_s - self.job.first_seen_at.timestamp())

    @property
    def rss_kb(self) -> list[int]:
        """All that is known of its resident memory."""
        last = [] if self.is_cut or self.job.rss_kb is None else [self.job.rss_kb]
        return [*self.memory.rss_kb, *last]


def _first(series: _Series, count: int) -> _Series:
    return type(series)(*(getattr(series, field.name)[:count] for field in fields(series)))


def _reached(run: Run) -> dict[str, int]:
    """The newest lumisection that each client reached."""
    reached: dict[str, int] = {}
    for job in run.jobs:
        reached[job.name] = max(job.lumisection or 0, reached.get(job.name, 0))
    return reached


def _performances(
    run: Run, details: Mapping[UUID, JobSeries], until: Mapping[str, int]
) -> Iterable[ClientPerformance]:
    reached = _reached(run)
    for name, of_client in groupby(run.jobs, attrgetter("name")):
        jobs = sorted(of_client, key=attrgetter("first_seen_at", "id"))
        # A client that reached no lumisection of the other run is not cut.
        yield _performance(jobs, details, reached[name], until.get(name) or reached[name])


def _performance(
    jobs: Sequence[Job], details: Mapping[UUID, JobSeries], reached: int, until: int
) -> ClientPerformance:
    """The performance of a client's jobs, which reached a lumisection and are compared `until` another."""
    compared = min(reached, until)
    series = [_job_series(job, details.get(job.id)).until(compared) for job in jobs]
    growth, error = _growth(series)
    return ClientPerformance(
        name=jobs[-1].name,
        state=jobs[-1].state,
        jobs=len(jobs),
        crashes=sum(job.state is JobState.CRASHED for job in jobs),
        crash_groups=tuple(dict.fromkeys(job.crash_group for job in jobs if job.crash_group is not None)),
        lumisections=reached,
        compared=compared if any(each.is_cut for each in series) else reached,
        events=_events(series),
        events_per_s=_event_rate(series),
        peak_rss_kb=max((kilobytes for each in series for kilobytes in each.rss_kb), default=None),
        growth_kb_per_ls=growth,
        growth_error_kb_per_ls=error,
        ls_duration_ms=_duration([each.events for each in series]),
        skipped=_skipped(series, details),
    )


def _events(series: Iterable[_JobSeries]) -> float | None:
    """Events of all jobs of which they are known."""
    known = [count for each in series if (count := each.event_count) is not None]
    return sum(known) if known else None


def _event_rate(series: Iterable[_JobSeries]) -> float | None:
    """Events per second of the jobs of which both are known."""
    timed = [
        (count, seconds)
        for each in series
        if (count := each.event_count) is not None and (seconds := each.seconds)
    ]
    return sum(count for count, _ in timed) / sum(seconds for _, seconds in timed) if timed else None


def _skipped(series: Iterable[_JobSeries], details: Mapping[UUID, JobSeries]) -> int | None:
    """The number of lumisections that no job saw; `None` if inputs are damaged or none are stored."""
    stored = [each for each in series if each.job.id in details]
    if not stored or any("input" in details[each.job.id].damaged for each in stored):
        return None
    return count_skipped(each.inputs for each in stored)


def _job_series(job: Job, series: JobSeries | None) -> _JobSeries:
    series = series or JobSeries()
    return _JobSeries(
        job,
        series.memory,
        series.events,
        series.input_statuses,
        is_downsampled=job.exit_code is not None and len(series.events.lumisections) >= MAX_POINTS,
    )


def _growth(series: Sequence[_JobSeries]) -> tuple[float, float] | tuple[None, None]:
    """Slope of the resident memory (kB per lumisection) of the longest job, and its standard error."""
    longest = max(series, key=lambda each: len(each.events.lumisections), default=None)
    if longest is None:
        return None, None
    lumisections, begun = (
        longest.events.lumisections[_WARM_UP_LS:],
        longest.events.at_s[_WARM_UP_LS:],
    )
    if len(begun) < _MIN_LS_OF_GROWTH:
        return None, None
    first, last = begun[0], begun[-1]
    ls_per_s = (lumisections[-1] - lumisections[0]) / max(1, last - first)
    points = [
        (at * ls_per_s, kilobytes)
        for at, kilobytes in zip(longest.memory.at_s, longest.memory.rss_kb, strict=True)
        if first <= at <= last
    ]
    if len({at for at, _ in points}) < 3:
        return None, None
    at, kilobytes = zip(*points, strict=True)
    slope, intercept = linear_regression(at, kilobytes)
    mean = fmean(at)
    residuals = fsum((y - intercept - slope * x) ** 2 for x, y in points)
    return slope, sqrt(residuals / (len(points) - 2) / fsum((x - mean) ** 2 for x in at))


def _duration(events: Sequence[EventSeries]) -> float | None:
    durations = [duration for series in events for duration in series.duration_ms if duration > 0]
    return median(durations) if durations else None
