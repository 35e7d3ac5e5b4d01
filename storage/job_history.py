"""Queries about a client's jobs in the runs before a run, with which a job is compared."""

from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

import db
from dqm2.records import ErrorGroup
from storage import log_findings, run_queries
from storage.prepared_statements import prepared
from storage.read_models import Run
from storage.run_queries import CLIENT, RUN, RUN_KEY
from storage.run_reader import RunReader

# Number of runs that are searched for a client: one that is in none of them has no recent history.
_SEARCHED_RUNS = 60
# Number of earlier runs with the same run key that are searched for a job of a client, and for a good one.
_COMPARABLE_RUNS, _RUNS_SEARCHED_FOR_GOOD = 30, 100

_jobs = db.jobs.c
_PREVIOUS_JOB = prepared(
    sa.select(_jobs.identity)
    .join(db.job_details)
    .where(
        _jobs.run.in_(run_queries.select_runs_with_key(RUN_KEY, before=RUN, limit=_COMPARABLE_RUNS)),
        _jobs.client == CLIENT,
    )
    .order_by(_jobs.run.desc(), _jobs.started_at.desc(), _jobs.identity)
    .limit(1)
)
_USUAL_ERRORS = prepared(
    sa.select(_jobs.log_errors)
    .where(
        _jobs.run.in_(run_queries.select_runs_with_key(RUN_KEY, before=RUN, limit=_RUNS_SEARCHED_FOR_GOOD)),
        _jobs.client == CLIENT,
        _jobs.exit_code == 0,
    )
    .order_by(_jobs.run.desc(), _jobs.started_at.desc(), _jobs.identity)
    .limit(1)
)


class JobHistoryReader(RunReader):
    """Reads the earlier jobs of a client."""

    def client_history(self, run: int, client: str, limit: int) -> list[Run]:
        """The last runs before `run` that have jobs of a client (tag), newest first.

        Of the jobs of other clients they have those without an exit code: the states of the client's jobs
        depend on these.
        """
        with self._database.connect() as connection:
            numbers = connection.scalars(_select_runs_of_client(limit), {"run": run, "client": client}).all()
        is_needed = sa.or_(_jobs.client == client, _jobs.exit_code.is_(None))
        return self._runs(lambda number: number.in_(numbers), is_needed)[::-1]

    def previous_job(self, run: int, run_key: str, client: str) -> UUID | None:
        """The id of the newest job of a client (tag) in earlier runs with the same run key.

        Jobs whose series are no longer stored are left out.
        """
        parameters = {"run": run, "run_key": run_key, "client": client}
        with self._database.connect() as connection:
            found: UUID | None = connection.scalar(_PREVIOUS_JOB, parameters)
        return found

    def usual_errors(self, run: int, run_key: str, client: str) -> tuple[ErrorGroup, ...] | None:
        """The errors that a client (tag) logged in its last good run before `run` with the same run key.

        `None` if none of the last such runs was good.
        """
        parameters = {"run": run, "run_key": run_key, "client": client}
        with self._database.connect() as connection:
            row = connection.execute(_USUAL_ERRORS, parameters).one_or_none()
        return None if row is None else log_findings.read_errors(row.log_errors)


@cache
def _select_runs_of_client(limit: int) -> sa.Select[Any]:
    """Select the numbers of the last runs before `run` that have jobs of `client`, newest first."""
    runs = db.runs.c
    recent = (
        sa.select(runs.run).where(runs.run < RUN).order_by(runs.run.desc()).limit(_SEARCHED_RUNS)
    ).subquery()
    of_client = sa.exists().where(_jobs.run == recent.c.run, _jobs.client == CLIENT)
    return prepared(sa.select(recent.c.run).where(of_client).order_by(recent.c.run.desc()).limit(limit))
