"""What is read of runs: which there are, their jobs with states computed, logs, series and file delivery."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from sys import intern
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

import db
from dqm2.records import EventSeries, InputStatuses, JobLog, MemorySeries, SimulatorState
from storage import codecs, job_rows, job_state, run_queries
from storage.delivery_statistics import DeliveryStatistics, summarize
from storage.job_state import JobState
from storage.log_dictionaries import DictionaryStore
from storage.read_models import AdjacentRuns, Delivery, Job, JobDetails, Playback, Run, RunSpan, client_name
from storage.run_queries import RunFilter

# Runs that a range brings over at a time: with more, what their jobs took stays with the process.
_RUNS_AT_A_TIME = 25
# What a question over a whole range may take (s), where the server limits others to less.
_WIDE: Mapping[str, Any] = {"response_timeout_s": 30}

# A condition on the number of a run, whichever table it stands in.
_OfRun = Callable[[sa.Column[int]], sa.ColumnElement[bool]]


class _JobRow(NamedTuple):
    """A job with what its state depends on."""

    identity: UUID
    run: int
    client: str
    started_at: datetime
    updated_at: datetime
    exit_code: int | None
    cmssw_run: int | None
    lumisection: int | None
    lumisection_at: datetime | None
    lumisections_skipped: int
    events_total: int | None
    events_rate: float | None
    fi_state: int | None
    rss_kb: int | None
    machine: str
    machine_clock_at: datetime | None
    machine_newest_run: int | None


_JOBS = job_rows.select(_JobRow)


class RunReader:
    """Reads a cluster's runs. `stuck_after` is how long a silent job is not yet stuck."""

    def __init__(self, database: sa.Engine, stuck_after: timedelta) -> None:
        self._database = database
        self._dictionaries = DictionaryStore(database)
        self._stuck_after = stuck_after

    def run_span(self) -> RunSpan:
        """The lowest and the highest run."""
        with self._database.connect() as connection:
            lowest, highest = connection.execute(
                sa.select(sa.func.min(db.runs.c.run), sa.func.max(db.runs.c.run))
            ).one()
        return RunSpan(lowest, highest)

    def adjacent_runs(self, run: int) -> AdjacentRuns:
        """The runs before and after `run`, which need not be there itself."""
        number = db.runs.c.run
        with self._database.connect() as connection:
            before, after = connection.execute(
                sa.select(
                    sa.select(sa.func.max(number)).where(number < run).scalar_subquery(),
                    sa.select(sa.func.min(number)).where(number > run).scalar_subquery(),
                )
            ).one()
        return AdjacentRuns(before, after)

    def run(self, run: int) -> Run | None:
        """A run with its jobs; `None` if nothing of it is mirrored."""
        with self._database.connect() as connection:
            described = connection.execute(sa.select(db.runs).where(db.runs.c.run == run)).one_or_none()
            rows = job_rows.read(connection, _JOBS.where(db.jobs.c.run == run), _JobRow)
        if described is None and not rows:
            return None
        return self._run(run, described, rows)

    def runs(self, first: int, last: int) -> Iterator[Run]:
        """The runs from `first` to `last`, ascending.

        They are read in pieces, each by a statement of its own, so that memory is bounded however many they
        are, and a slow reader holds no connection.
        """
        while first <= last:
            end = self._end_of_piece(first, last)
            yield from self._runs(_between(first, end))
            first = end + 1

    def find_runs(self, run_filter: RunFilter, *, below: int | None, limit: int) -> list[Run]:
        """The newest runs that a search finds, at `most` so many, of those `below` a run; newest first."""
        with self._database.connect() as connection:
            numbers = connection.scalars(
                run_queries.select_newest_runs(run_filter, below=below, limit=limit)
            ).all()
        return self._runs(lambda run: run.in_(numbers))[::-1]

    def iter_found_runs(self, run_filter: RunFilter) -> Iterator[Run]:
        """All runs that a search finds, newest first; in pieces, as `runs`."""
        below = run_filter.last + 1
        while runs := self.find_runs(run_filter, below=below, limit=_RUNS_AT_A_TIME):
            yield from runs
            below = runs[-1].run

    def count_runs(self, run_filter: RunFilter) -> int:
        """How many runs a search finds."""
        numbers = run_queries.select_runs(run_filter).subquery()
        with self._database.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(numbers)) or 0

    def clients(self, first: int, last: int) -> list[str]:
        """The names of the clients of the runs from `first` to `last`, sorted."""
        statement = sa.select(db.jobs.c.client).distinct().where(db.jobs.c.run.between(first, last))
        with self._database.connect() as connection:
            return sorted(map(client_name, connection.scalars(statement, execution_options=_WIDE)))

    def expected_clients(self, run: int, run_key: str) -> frozenset[str]:
        """The clients, by tag, of the last run before `run` with this run key: what `run` should have too."""
        table = db.runs.c
        last = (
            sa.select(table.run)
            .where(table.run < run, table.run_key == run_key)
            .order_by(table.run.desc())
            .limit(1)
            .scalar_subquery()
        )
        statement = sa.select(db.jobs.c.client).distinct().where(db.jobs.c.run == last)
        with self._database.connect() as connection:
            return frozenset(connection.scalars(statement))

    def job_details(self, job: UUID) -> JobDetails | None:
        """A job with its series and its log; `None` if there is none of that id."""
        with self._database.connect() as connection:
            run = connection.scalar(sa.select(db.jobs.c.run).where(db.jobs.c.identity == job))
            kept = connection.execute(
                sa.select(db.job_details).where(db.job_details.c.identity == job)
            ).one_or_none()
        found = None if run is None else self.run(run)
        shown = next((shown for shown in found.jobs if shown.id == job), None) if found else None
        if shown is None:
            return None
        if kept is None:
            return JobDetails(
                shown, MemorySeries(), EventSeries(), InputStatuses(), JobLog(), is_retained=False
            )
        return JobDetails(
            job=shown,
            memory=codecs.unpack_memory(kept.memory),
            events=codecs.unpack_events(kept.events),
            input_statuses=codecs.unpack_input_statuses(kept.fates),
            log=codecs.unpack_log(kept.log, kept.log_replaced, self._dictionaries.for_log(kept.log)),
        )

    def delivery(self, run: int) -> Delivery | None:
        """The file delivery of a run, the newest where several machines report one."""
        row = self._newest(db.deliveries, run)
        return None if row is None else _delivery(row)

    def delivery_statistics(self, runs: Sequence[int]) -> dict[int, DeliveryStatistics]:
        """What `delivery` answers to each of some runs, in numbers; without those that have none."""
        table = db.deliveries.c
        statement = (
            sa.select(db.deliveries, db.machines.c.label)
            .join(db.machines)
            .where(table.run.in_(runs))
            .order_by(table.run, *_newest_first(table))
            .ext(distinct_on(table.run))
        )
        with self._database.connect() as connection:
            return {row.run: summarize(_delivery(row)) for row in connection.execute(statement)}

    def delivery_updated_at(self, run: int) -> datetime | None:
        """When what `delivery` answers was reported; `None` if nothing was."""
        table = db.deliveries.c
        statement = sa.select(sa.func.max(table.updated_at)).where(table.run == run)
        with self._database.connect() as connection:
            updated_at: datetime | None = connection.scalar(statement)
        return updated_at

    def playback(self, run: int) -> Playback | None:
        """The simulator of a run, the newest report where there are several."""
        row = self._newest(db.playbacks, run)
        if row is None:
            return None
        return Playback(
            run=row.run,
            machine=row.label,
            state=None if row.state is None else SimulatorState(row.state),
            lumisection=row.lumisection,
            number_of_ls=row.number_of_ls,
            run_key=row.run_key,
            source_run=row.source_run,
            updated_at=row.updated_at,
        )

    def _newest(self, table: sa.Table, run: int) -> Any | None:
        """The newest row of a run, of which several machines may report, with its machine's label."""
        statement = (
            sa.select(table, db.machines.c.label)
            .join(db.machines)
            .where(table.c.run == run)
            .order_by(*_newest_first(table.c))
            .limit(1)
        )
        with self._database.connect() as connection:
            return connection.execute(statement).one_or_none()

    def _end_of_piece(self, first: int, last: int) -> int:
        run = db.runs.c.run
        statement = sa.select(run).where(run.between(first, last)).order_by(run)
        with self._database.connect() as connection:
            end: int | None = connection.scalar(statement.offset(_RUNS_AT_A_TIME - 1).limit(1))
        return last if end is None else end

    def _runs(self, is_asked_for: "_OfRun") -> list[Run]:
        """The runs that have jobs and whose number is asked for, ascending."""
        runs, jobs = db.runs.c.run, db.jobs.c.run
        with self._database.connect() as connection:
            described = connection.execute(sa.select(db.runs).where(is_asked_for(runs))).all()
            rows = job_rows.read(connection, _JOBS.where(is_asked_for(jobs)).order_by(jobs), _JobRow)
        by_number = {row.run: row for row in described}
        by_run = ((run, list(of_run)) for run, of_run in groupby(rows, attrgetter("run")))
        return [self._run(run, by_number.get(run), of_run) for run, of_run in by_run]

    def _run(self, run: int, described: Any, rows: Sequence[_JobRow]) -> Run:
        newest = max((row.lumisection for row in rows if row.lumisection is not None), default=0)
        jobs = [
            _job(row, state, newest)
            for row, state in zip(rows, job_state.job_states(rows, self._stuck_after), strict=True)
        ]
        return Run(
            run=run,
            run_key=None if described is None else described.run_key,
            cmssw_version=None if described is None else described.cmssw_version,
            is_ongoing=job_state.is_ongoing(rows, self._stuck_after),
            jobs=tuple(sorted(jobs, key=lambda job: (job.name, job.started_at, job.id))),
        )


def _between(first: int, last: int) -> _OfRun:
    return lambda run: run.between(first, last)


def _newest_first(of_table: Any) -> tuple[sa.ColumnElement[Any], ...]:
    """The order of what several machines report of a run."""
    return of_table.updated_at.desc(), of_table.identity


def _delivery(row: Any) -> Delivery:
    return Delivery(
        id=row.identity,
        run=row.run,
        revision=row.revision,
        machine=row.label,
        updated_at=row.updated_at,
        global_start=row.global_start,
        global_start_is_guess=row.global_start_is_guess,
        lumisection_s=row.lumisection_s,
        streams=codecs.unpack_streams(row.streams),
    )


def _job(row: _JobRow, state: JobState, newest_lumisection: int) -> Job:
    return Job(
        id=row.identity,
        run=row.run,
        # The same few names in all of what is remembered.
        client=intern(row.client),
        machine=intern(row.machine),
        state=state,
        exit_code=row.exit_code,
        started_at=row.started_at,
        updated_at=row.updated_at,
        cmssw_run=row.cmssw_run,
        lumisection=row.lumisection,
        lumisections_skipped=row.lumisections_skipped,
        lag=newest_lumisection - (row.lumisection or 0),
        events_total=row.events_total,
        events_rate=row.events_rate,
        fi_state=row.fi_state,
        rss_kb=row.rss_kb,
    )
