"""Analysis of the logs of jobs that were stored by other rules, or by a program that did not analyze them.

The findings of a log that is damaged or no longer stored are kept; only the group of the crash is determined
again. The logs of jobs that have ended get into the index that is searched.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

import db
from dqm2 import log_templates
from dqm2.crash_reasons import LogFindings, analyze
from dqm2.records import JobLog
from storage import crash_group_writer, crash_groups, log_findings, log_index, upserts
from storage.crash_groups import CrashGroup
from storage.log_compression import DamagedLog
from storage.log_dictionaries import DictionaryStore

# About 20 ms of work.
_JOBS_PER_BATCH = 50


class _Analyzed(NamedTuple):
    """The row of a job, its log, and what follows from that by the present rules."""

    row: Any
    log: JobLog | None
    findings: LogFindings
    group: CrashGroup | None


def analyze_outdated(database: sa.Engine) -> Iterator[int]:
    """Analyze the jobs whose findings are of older rules; yields the number of jobs of each batch.

    A job that is written meanwhile is left alone. An interrupted pass continues where it was. The last step
    deletes groups of crashes that have no job any more.
    """
    dictionaries = DictionaryStore(database)
    while True:
        with database.begin() as connection:
            rows = connection.execute(_select_outdated()).all()
            if rows:
                _write(connection, [_analyze(row, dictionaries) for row in rows])
            else:
                crash_group_writer.delete_empty(connection)
        if not rows:
            return
        yield len(rows)


def _analyze(row: Any, dictionaries: DictionaryStore) -> _Analyzed:
    log = _log(row, dictionaries)
    findings = _findings(row, log)
    return _Analyzed(row, log, findings, crash_groups.group_of(row.client, row.exit_code, findings.crash))


def _write(connection: sa.Connection, jobs: Sequence[_Analyzed]) -> None:
    """Write the findings of jobs, their groups and the index of their logs, and notify listeners."""
    crash_group_writer.write(connection, [job.group for job in jobs if job.group is not None])
    updated = [job for job in jobs if _update(connection, job)]
    indexed = {
        job.row.identity: (
            job.row.run,
            log_templates.templates(job.log, job.findings.errors, job.findings.crash),
        )
        for job in updated
        if job.log is not None and job.row.exit_code is not None
    }
    log_index.write(connection, indexed)
    upserts.notify_jobs(connection, {job.row.run for job in jobs})


def _update(connection: sa.Connection, job: _Analyzed) -> bool:
    """Write the findings of a job; returns whether it is still the one that was read."""
    table, row = db.jobs.c, job.row
    is_unchanged = (table.identity == row.identity, table.epoch == row.epoch, table.revision == row.revision)
    columns = log_findings.columns(job.findings.crash, job.findings.errors, job.group)
    return connection.execute(sa.update(db.jobs).where(*is_unchanged).values(columns)).rowcount > 0


def _select_outdated() -> sa.Select[Any]:
    """Select the jobs of older rules: those that were never analyzed come last, and older runs later."""
    return (
        sa.select(
            *(
                db.jobs.c[name]
                for name in (
                    *("identity", "epoch", "revision", "run", "client", "exit_code"),
                    *("log_rules", "crash", "log_errors"),
                )
            ),
            db.job_details.c.log,
        )
        .join_from(db.jobs, db.job_details, isouter=True)
        .where(db.jobs.c.log_rules < log_findings.FINDINGS_VERSION)
        .order_by(db.jobs.c.log_rules.desc(), db.jobs.c.run.desc())
        .limit(_JOBS_PER_BATCH)
    )


def _findings(row: Any, log: JobLog | None) -> LogFindings:
    """The findings of a job's log; those that are stored if the log can't be read any more."""
    if log is None and row.log_rules:
        return LogFindings(log_findings.read_crash(row.crash), log_findings.read_errors(row.log_errors))
    return analyze(log or JobLog(), row.exit_code)


def _log(row: Any, dictionaries: DictionaryStore) -> JobLog | None:
    """The log of a job; `None` if it is no longer stored, or damaged."""
    if row.log is None:
        return None
    try:
        return dictionaries.unpack(row.identity, row.log)
    except DamagedLog:
        return None
