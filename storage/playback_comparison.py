"""Queries that compare a run of the playback cluster with a reference: its choice, and the clients' work.

Series are stored for as long as `JOB_LOG_RETENTION_DAYS` says. What follows from them is `None` after that.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from statistics import linear_regression, median
from typing import Any

import sqlalchemy as sa

import db
from dqm2.records import EventSeries, MemorySeries
from storage import codecs, run_queries
from storage.job_state import JobState
from storage.read_models import Run, client_name
from storage.run_reader import RunReader, count_skipped

# Runs before the one that is compared among which a reference is looked for.
_MAX_CANDIDATES = 200
# Memory grows while the first lumisections are processed: conditions are loaded, plots are booked.
_WARM_UP_LS = 10
# Fewer points have no slope to speak of.
_MIN_LS_OF_GROWTH = 20

_runs, _jobs, _playbacks, _details = db.runs.c, db.jobs.c, db.playbacks.c, db.job_details.c


@dataclass(frozen=True, slots=True)
class ClientPerformance:
    """Work of a client in a run, over all its jobs; `None` for what is unknown.

    `crashes`: jobs that crashed. `state` is that of the newest job. `lumisections`: the newest that it
    reached. `events_per_s`: of its events, by the time in which its jobs ran. `peak_rss_kb`: the highest
    resident memory. `growth_kb_per_ls`: slope of the resident memory of the longest job after its first
    lumisections. `ls_duration_ms`: median time for a lumisection. `skipped`: lumisections that no job saw.
    """

    client: str
    state: JobState
    jobs: int
    crashes: int
    crash_groups: tuple[str, ...]
    lumisections: int
    events: int | None
    events_per_s: float | None
    peak_rss_kb: int | None
    growth_kb_per_ls: float | None
    ls_duration_ms: float | None
    skipped: int | None

    @property
    def name(self) -> str:
        """The client's name as users know it."""
        return client_name(self.client)

    @property
    def events_per_ls(self) -> float | None:
        """Events per lumisection; `None` without either."""
        return None if self.events is None or not self.lumisections else self.events / self.lumisections


class PlaybackComparisonReader(RunReader):
    """Reads runs of the playback cluster for a comparison."""

    def reference_run(self, run: int) -> int | None:
        """The run with which a run is compared by default; `None` if there is none.

        The last run before it that played the same source run with the same run key and another release;
        else the last one with the same run key that reached a lumisection and in which no job crashed.
        """
        with self._database.connect() as connection:
            described = connection.execute(
                sa.select(_runs.run_key, _runs.cmssw_version).where(_runs.run == run)
            ).one_or_none()
            if described is None or described.run_key is None:
                return None
            same_source = self._same_source(run, described)
            found: int | None = connection.scalar(same_source) or connection.scalar(
                _last_good(run, described)
            )
        return found

    def client_performance(
        self, run: int, growth_until_ls: int | None = None
    ) -> tuple[ClientPerformance, ...]:
        """The work of each client of a run, by name; empty if nothing of it is mirrored.

        `growth_until_ls`: the growth of memory is that up to this lumisection. It flattens in the course of a
        run, so that only the same part of two runs can be compared.
        """
        found = self.run(run)
        if found is None:
            return ()
        statement = (
            sa.select(_details.identity, _details.memory, _details.events, _details.input_statuses)
            .join(db.jobs, _jobs.identity == _details.identity)
            .where(_jobs.run == run)
        )
        with self._database.connect() as connection:
            details = {row.identity: row for row in connection.execute(statement)}
        return tuple(_performances(found, details, growth_until_ls))

    def _same_source(self, run: int, described: Any) -> sa.Select[Any]:
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


def _performances(
    run: Run, details: dict[Any, Any], growth_until_ls: int | None
) -> Iterable[ClientPerformance]:
    for client, of_client in groupby(run.jobs, attrgetter("client")):
        jobs = sorted(of_client, key=attrgetter("first_seen_at", "id"))
        stored = [details[job.id] for job in jobs if job.id in details]
        memory = [codecs.unpack_memory(row.memory) for row in stored]
        events = [codecs.unpack_events(row.events) for row in stored]
        inputs = [codecs.unpack_input_statuses(row.input_statuses) for row in stored]
        counted = [job.events_total for job in jobs if job.events_total is not None]
        seconds = sum((job.updated_at - job.first_seen_at).total_seconds() for job in jobs)
        rss = [job.rss_kb for job in jobs if job.rss_kb is not None]
        rss += [kilobytes for series in memory for kilobytes in series.rss_kb]
        yield ClientPerformance(
            client=client,
            state=jobs[-1].state,
            jobs=len(jobs),
            crashes=sum(job.state is JobState.CRASHED for job in jobs),
            crash_groups=tuple(dict.fromkeys(job.crash_group for job in jobs if job.crash_group is not None)),
            lumisections=max((job.lumisection or 0 for job in jobs), default=0),
            events=sum(counted) if counted else None,
            events_per_s=sum(counted) / seconds if counted and seconds else None,
            peak_rss_kb=max(rss, default=None),
            growth_kb_per_ls=_growth(memory, events, growth_until_ls),
            ls_duration_ms=_duration(events),
            skipped=count_skipped(inputs) if stored else None,
        )


def _growth(
    memory: Sequence[MemorySeries], events: Sequence[EventSeries], until_ls: int | None
) -> float | None:
    """Slope of the resident memory (kB per lumisection) of the job with the most lumisections."""
    longest = max(zip(memory, events, strict=True), key=lambda pair: len(pair[1].lumisections), default=None)
    if longest is None:
        return None
    of_memory, of_events = longest
    end = None if until_ls is None else bisect_right(of_events.lumisections, until_ls)
    lumisections, begun = of_events.lumisections[_WARM_UP_LS:end], of_events.at_s[_WARM_UP_LS:end]
    if len(begun) < _MIN_LS_OF_GROWTH:
        return None
    first, last = begun[0], begun[-1]
    ls_per_s = (lumisections[-1] - lumisections[0]) / max(1, last - first)
    points = [
        (at * ls_per_s, kilobytes)
        for at, kilobytes in zip(of_memory.at_s, of_memory.rss_kb, strict=True)
        if first <= at <= last
    ]
    if len({at for at, _ in points}) < 2:
        return None
    return linear_regression(*zip(*points, strict=True)).slope


def _duration(events: Sequence[EventSeries]) -> float | None:
    durations = [duration for series in events for duration in series.duration_ms if duration > 0]
    return median(durations) if durations else None
