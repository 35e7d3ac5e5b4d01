"""Summaries of many runs, which PostgreSQL computes for the clients whose jobs have finished.

Nearly all have. The jobs that are read themselves are the others: those that crashed, and those without an
exit code, whose state depends on the rules.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

import db
from storage import job_state, run_queries
from storage.client_names import client_name
from storage.database_reader import DatabaseReader
from storage.job_state import JobState, StateRules
from storage.read_models import ClientSummary, RunSummary, delivery_start
from storage.run_queries import RunFilter
from storage.run_reader import FIRST_START, fetch_jobs, select_jobs, select_newest_with_jobs

_SEVERITY = {state: number for number, state in enumerate(JobState)}

_jobs = db.jobs.c


class _JobRow(NamedTuple):
    """A job that has not finished, and the inputs of its state; `id` as a text is read faster."""

    id: str
    run: int
    client: str
    updated_at: datetime
    exit_code: int | None
    lumisection: int | None
    lumisection_at: datetime | None
    events_total: int | None
    machine_is_mirrored: bool
    machine_clock_at: datetime | None
    machine_newest_run: int | None


class RunSummariesReader(DatabaseReader):
    """Reads the summaries of runs; the states in them follow from `rules`."""

    def __init__(self, database: sa.Engine, rules: StateRules) -> None:
        super().__init__(database)
        self._rules = rules

    def find(self, run_filter: RunFilter, *, below: int | None, limit: int) -> list[RunSummary]:
        """The newest runs that match a filter, newest first, of those `below` a run; as summaries.

        If the filter has clients, with these only.
        """
        of_clients = tuple(run_queries.is_of_clients(run_filter))
        # A job that goes on may decide on the state of another client's.
        is_needed = sa.or_(_jobs.exit_code.is_(None), sa.and_(_jobs.exit_code != 0, *of_clients))
        newest = select_newest_with_jobs(run_filter, *_of_run(of_clients), below=below, limit=limit)
        others = select_jobs(_JobRow, self._rules).where(is_needed)
        with self._database.connect() as connection:
            runs = connection.execute(newest).all()
            of_runs = others.where(_jobs.run.in_([run.run for run in runs]))
            rows = fetch_jobs(
                connection, of_runs.order_by(_jobs.run, _jobs.started_at, _jobs.identity), _JobRow
            )
        by_run = {run: list(of_run) for run, of_run in groupby(rows, attrgetter("run"))}
        return [self._summary(run, by_run.get(run.run, ()), run_filter.clients) for run in runs]

    def _summary(self, run: Any, rows: Sequence[_JobRow], clients: Collection[str] | None) -> RunSummary:
        """The summary of a run; `rows` are its jobs that have not finished, in the order of their start."""
        states = job_state.job_states(rows, self._rules.stuck_after, datetime.now(UTC))
        others = [
            (row, state)
            for row, state in zip(rows, states, strict=True)
            if clients is None or client_name(row.client) in clients
        ]
        summaries = _summaries(zip(run.finished or (), run.events_finished or (), strict=True), others)
        return RunSummary(
            run=run.run,
            run_key=run.run_key,
            cmssw_version=run.cmssw_version,
            started_at=delivery_start(run.global_start, run.updated_at) or run.first_start,
            updated_at=run.updated_at,
            clients=summaries,
            state_changes_at=job_state.earliest_loss((state, row.updated_at) for row, state in others),
        )


def _of_run(of_clients: Collection[sa.ColumnElement[bool]]) -> tuple[sa.ColumnElement[Any], ...]:
    """The times of all jobs of a run, and the tag and the events of each that has finished."""
    has_finished = sa.and_(_jobs.exit_code == 0, *of_clients)
    return (
        FIRST_START.label("first_start"),
        sa.func.max(_jobs.updated_at).label("updated_at"),
        sa.func.array_agg(_jobs.client).filter(has_finished).label("finished"),
        sa.func.array_agg(_jobs.events_total).filter(has_finished).label("events_finished"),
    )


def _summaries(
    finished: Iterable[tuple[str, int | None]], others: Iterable[tuple[_JobRow, JobState]]
) -> Mapping[str, ClientSummary]:
    """The clients by name; `finished`: tag and number of events of each job that has finished."""
    summaries: dict[str, ClientSummary] = {}
    for tag, events in finished:
        name, job = client_name(tag), ClientSummary(JobState.FINISHED, 1, 0, None, events)
        summaries[name] = _with_job(summaries[name], job) if name in summaries else job
    for row, state in others:
        crashed = state is JobState.CRASHED
        name = client_name(row.client)
        job = ClientSummary(state, 1, int(crashed), row.id if crashed else None, row.events_total)
        summaries[name] = _with_job(summaries[name], job) if name in summaries else job
    return summaries


def _with_job(client: ClientSummary, job: ClientSummary) -> ClientSummary:
    """A client with one more job, which is given as the summary of a client without others."""
    return ClientSummary(
        state=min(client.state, job.state, key=_SEVERITY.__getitem__),
        jobs=client.jobs + 1,
        crashed=client.crashed + job.crashed,
        last_crash=job.last_crash or client.last_crash,
        events_total=None,
    )
