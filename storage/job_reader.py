"""Reader of single jobs: their series and logs, and the earlier jobs of their client to compare them with."""

from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

import db
from dqm2.records import ErrorGroup, JobLog
from storage import log_findings, run_queries
from storage.database_reader import DatabaseReader
from storage.log_compression import DamagedLog
from storage.log_dictionaries import DictionaryStore
from storage.prepared_statements import prepared
from storage.read_models import JobDetails, Run
from storage.run_queries import CLIENT, RUN, RUN_KEY
from storage.run_reader import RunReader
from storage.stored_series import JobSeries, unpack_job

# Number of runs that are searched for a client: one that is in none of them has no recent history.
_SEARCHED_RUNS = 60
# Number of earlier runs with the same run key that are searched for a job of a client, and for a good one.
_COMPARABLE_RUNS, _RUNS_SEARCHED_FOR_GOOD = 30, 100

_jobs = db.jobs.c
_JOB = sa.bindparam("job", type_=sa.Uuid)
_FOUND_JOB = prepared(sa.select(_jobs.run, _jobs.log_errors).where(_jobs.identity == _JOB))
_STORED_DETAILS = prepared(sa.select(db.job_details).where(db.job_details.c.identity == _JOB))
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


class JobReader(DatabaseReader):
    """Reads jobs; `runs` reads their states, and `dictionaries` unpack their logs."""

    def __init__(self, database: sa.Engine, runs: RunReader, dictionaries: DictionaryStore) -> None:
        super().__init__(database)
        self._runs = runs
        self._dictionaries = dictionaries

    def details(self, job_id: UUID) -> JobDetails | None:
        """A job with its series and its log; `None` if no job has this id."""
        with self._database.connect() as connection:
            found = connection.execute(_FOUND_JOB, {"job": job_id}).one_or_none()
            stored = connection.execute(_STORED_DETAILS, {"job": job_id}).one_or_none()
        run = None if found is None else self._runs.get(found.run)
        job = next((job for job in run.jobs if job.id == job_id), None) if run else None
        if found is None or job is None:
            return None
        errors = log_findings.read_errors(found.log_errors)
        if stored is None:
            return JobDetails(job, JobSeries(), JobLog(), errors, is_retained=False)
        log = self._log(job_id, stored)
        return JobDetails(
            job=job,
            series=unpack_job(stored),
            log=log or JobLog(),
            errors=errors,
            is_log_damaged=log is None,
        )

    def log(self, job_id: UUID) -> JobLog | None:
        """The log of a job; `None` if none is stored, or it is damaged."""
        table = db.job_details.c
        statement = sa.select(table.log, table.log_redactions).where(table.identity == job_id)
        with self._database.connect() as connection:
            stored = connection.execute(statement).one_or_none()
        return None if stored is None else self._log(job_id, stored)

    def client_history(self, run: int, client: str, limit: int) -> list[Run]:
        """The last runs before `run` that have jobs of a client (tag), newest first.

        Of the jobs of other clients they have those without an exit code: the states of the client's jobs
        depend on these.
        """
        with self._database.connect() as connection:
            numbers = connection.scalars(_select_runs_of_client(limit), {"run": run, "client": client}).all()
        is_needed = sa.or_(_jobs.client == client, _jobs.exit_code.is_(None))
        return self._runs.read_all(numbers, is_needed)[::-1]

    def previous(self, run: int, run_key: str, client: str) -> UUID | None:
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

    def _log(self, job_id: UUID, stored: Any) -> JobLog | None:
        try:
            return self._dictionaries.unpack(job_id, stored.log, stored.log_redactions)
        except DamagedLog:
            return None


@cache
def _select_runs_of_client(limit: int) -> sa.Select[Any]:
    """Select the numbers of the last runs before `run` that have jobs of `client`, newest first."""
    runs = db.runs.c
    recent = (
        sa.select(runs.run).where(runs.run < RUN).order_by(runs.run.desc()).limit(_SEARCHED_RUNS)
    ).subquery()
    of_client = sa.exists().where(_jobs.run == recent.c.run, _jobs.client == CLIENT)
    return prepared(sa.select(recent.c.run).where(of_client).order_by(recent.c.run.desc()).limit(limit))
