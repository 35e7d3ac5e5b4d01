"""Search for lines in the logs of a range of runs: in the index of templates, then in the logs themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, TSQUERY

import db
from dqm2 import log_messages
from dqm2.log_templates import LineQuery
from storage import run_queries
from storage.client_names import client_name
from storage.database_reader import DatabaseReader
from storage.log_compression import DamagedLog
from storage.log_dictionaries import DictionaryStore
from storage.run_queries import RunFilter

# Templates considered per search; words with more matches are too common to narrow it down.
_MAX_TEMPLATES = 500
# Lines that are shown of a log.
_MAX_LINES = 3
# Jobs of the requested clients up to which a look at the log of each is faster than a comparison with the
# templates of all jobs. A client has about one job in a run.
_FEW_JOBS = 2000
_index, _jobs = db.log_index.c, db.jobs.c


@dataclass(frozen=True, slots=True)
class FoundLog:
    """A job with the first lines that match, each with its number, and the number of all lines that do."""

    id: UUID
    run: int
    client: str
    machine: str
    exit_code: int | None
    updated_at: datetime
    lines: tuple[tuple[int, str], ...]
    line_count: int

    @property
    def name(self) -> str:
        """The client's name as users know it."""
        return client_name(self.client)


@dataclass(frozen=True, slots=True)
class FoundLogs:
    """A page of the logs that have a line, the newest first.

    `has_more`: older logs may have it as well. `is_partial`: so many different lines have the words of the
    query that only some of them were looked for. `damaged`: the number of logs that could not be read.
    """

    logs: tuple[FoundLog, ...]
    has_more: bool
    is_partial: bool
    damaged: int = 0


class LogSearchReader(DatabaseReader):
    """Searches the logs of a cluster, which `dictionaries` unpack."""

    def __init__(self, database: sa.Engine, dictionaries: DictionaryStore) -> None:
        super().__init__(database)
        self._dictionaries = dictionaries

    def search(self, query: LineQuery, run_filter: RunFilter, *, skip: int, limit: int) -> FoundLogs:
        """The logs with a line that matches, without those of the first `skip` jobs that may have it.

        Of `limit` jobs, fewer may match: the index has no numbers.
        """
        # Pages read in autocommit mode, but the setting below must end with a transaction.
        options = {"isolation_level": "READ COMMITTED"}
        with self._database.connect().execution_options(**options) as connection, connection.begin():
            # Until the end of this transaction. The planner overestimates the matches of a prefix and would
            # read all templates.
            connection.execute(sa.select(sa.func.set_config("enable_seqscan", "off", True)))  # noqa: FBT003
            templates = connection.scalars(_select_templates(query)).all()
            if not templates:
                return FoundLogs((), has_more=False, is_partial=False)
            statement = _select_logs(templates[:_MAX_TEMPLATES], run_filter, skip, limit + 1)
            rows = connection.execute(statement).all()
        matches = [self._match(row, query) for row in rows[:limit]]
        return FoundLogs(
            tuple(log for log in matches if log is not None and log.lines),
            has_more=len(rows) > limit,
            is_partial=len(templates) > _MAX_TEMPLATES,
            damaged=matches.count(None),
        )

    def _match(self, row: Any, query: LineQuery) -> FoundLog | None:
        """The lines of a log that match, which may be none; `None` if the log is damaged."""
        try:
            log = self._dictionaries.unpack(row.identity, row.log)
        except DamagedLog:
            return None
        numbered = enumerate(log_messages.full_text(log).split("\n"), start=1)
        lines = [(number, line) for number, line in numbered if query.matches(line)]
        return FoundLog(
            id=row.identity,
            run=row.run,
            client=row.client,
            machine=row.label,
            exit_code=row.exit_code,
            updated_at=row.updated_at,
            lines=tuple(lines[:_MAX_LINES]),
            line_count=len(lines),
        )


def _select_templates(query: LineQuery) -> sa.Select[Any]:
    """Select the templates that have all words, and one more than are considered if there are more."""
    # Words have letters only.
    searched = sa.cast(" & ".join(f"'{word}':*" for word in query.words), TSQUERY)
    vector = sa.func.array_to_tsvector(db.log_templates.c.words)
    return sa.select(db.log_templates.c.id).where(vector.bool_op("@@")(searched)).limit(_MAX_TEMPLATES + 1)


def _select_logs(templates: Sequence[int], run_filter: RunFilter, skip: int, limit: int) -> sa.Select[Any]:
    """Select the newest logs that have one of the templates, newest first."""
    found = _select_found(_index.templates.overlap(sa.literal(templates, ARRAY(sa.Integer))), run_filter)
    newest = found.offset(skip).limit(limit).subquery()
    columns = (_jobs.client, _jobs.exit_code, _jobs.updated_at, db.machines.c.label, db.job_details.c.log)
    return (
        sa.select(newest, *columns)
        .join_from(newest, db.jobs, _jobs.identity == newest.c.identity)
        .join(db.job_details, db.job_details.c.identity == newest.c.identity)
        .join(db.machines, db.machines.c.id == _jobs.machine_id)
        .order_by(newest.c.run.desc(), newest.c.identity)
    )


def _select_found(is_match: sa.ColumnElement[bool], run_filter: RunFilter) -> sa.Select[Any]:
    """Select identity and run of the jobs that match a filter and have a matching log, newest first."""
    is_in_range = _index.run.between(run_filter.first, run_filter.last)
    is_of_job = run_queries.is_of_job(run_filter)
    if not _has_few_jobs(run_filter):
        logs = sa.select(_index.identity, _index.run).where(is_match, is_in_range, *is_of_job)
        return logs.join(db.jobs, _jobs.identity == _index.identity).order_by(
            _index.run.desc(), _index.identity
        )
    # PostgreSQL does not merge a query with an offset into another one, so it reads the jobs first.
    log = sa.select(_index.identity).where(_index.identity == _jobs.identity, is_match).offset(0).lateral()
    first = sa.select(sa.func.min(_index.run)).where(is_in_range).scalar_subquery()
    jobs = sa.select(_jobs.identity, _jobs.run).join(log, sa.true())
    return jobs.where(_jobs.run.between(first, run_filter.last), *is_of_job).order_by(
        _jobs.run.desc(), _jobs.identity
    )


def _has_few_jobs(run_filter: RunFilter) -> bool:
    if run_filter.clients is None:
        return False
    return len(run_filter.clients) * (run_filter.last - run_filter.first + 1) <= _FEW_JOBS
