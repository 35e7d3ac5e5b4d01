"""Queries about a client's jobs in the runs before a run, with which a job is compared."""

from uuid import UUID

import sqlalchemy as sa

import db
from dqm2.records import ErrorGroup
from storage import log_findings, run_queries
from storage.read_models import Run
from storage.run_reader import RunReader

# Number of runs that are searched for a client: one that is in none of them has no recent history.
_SEARCHED_RUNS = 60
# Number of earlier runs with the same run key that are searched for a job of a client, and for a good one.
_COMPARABLE_RUNS, _RUNS_SEARCHED_FOR_GOOD = 30, 100


class JobHistoryReader(RunReader):
    """Reads the earlier jobs of a client."""

    def client_history(self, run: int, client: str, limit: int) -> list[Run]:
        """The last runs before `run` that have jobs of a client (tag), newest first.

        Of the jobs of other clients they have those without an exit code: the states of the client's jobs
        depend on these.
        """
        runs, jobs = db.runs.c, db.jobs.c
        recent = (
            sa.select(runs.run).where(runs.run < run).order_by(runs.run.desc()).limit(_SEARCHED_RUNS)
        ).subquery()
        of_client = sa.exists().where(jobs.run == recent.c.run, jobs.client == client)
        statement = sa.select(recent.c.run).where(of_client).order_by(recent.c.run.desc()).limit(limit)
        with self._database.connect() as connection:
            numbers = connection.scalars(statement).all()
        is_needed = sa.or_(jobs.client == client, jobs.exit_code.is_(None))
        return self._runs(lambda number: number.in_(numbers), is_needed)[::-1]

    def previous_job(self, run: int, run_key: str, client: str) -> UUID | None:
        """The id of the newest job of a client (tag) in earlier runs with the same run key.

        Jobs whose series are no longer stored are left out.
        """
        jobs = db.jobs.c
        earlier = run_queries.select_runs_with_key(run_key, before=run, limit=_COMPARABLE_RUNS)
        statement = (
            sa.select(jobs.identity)
            .join(db.job_details)
            .where(jobs.run.in_(earlier), jobs.client == client)
            .order_by(jobs.run.desc(), jobs.started_at.desc())
            .limit(1)
        )
        with self._database.connect() as connection:
            found: UUID | None = connection.scalar(statement)
        return found

    def usual_errors(self, run: int, run_key: str, client: str) -> tuple[ErrorGroup, ...] | None:
        """The errors that a client (tag) logged in its last good run before `run` with the same run key.

        `None` if none of the last such runs was good.
        """
        jobs = db.jobs.c
        earlier = run_queries.select_runs_with_key(run_key, before=run, limit=_RUNS_SEARCHED_FOR_GOOD)
        statement = (
            sa.select(jobs.log_errors)
            .where(jobs.run.in_(earlier), jobs.client == client, jobs.exit_code == 0)
            .order_by(jobs.run.desc())
            .limit(1)
        )
        with self._database.connect() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else log_findings.read_errors(row.log_errors)
