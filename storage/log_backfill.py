"""Analysis of the logs of jobs that were stored by other rules, or by a program that did not analyze them."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
import zstandard

import db
from dqm2.crash_reasons import RULES_VERSION, analyze
from dqm2.records import JobLog
from storage import codecs, log_findings, upserts
from storage.log_compression import DictionaryStore

# About 20 ms of work.
_JOBS_PER_BATCH = 50


def analyze_outdated(database: sa.Engine) -> Iterator[int]:
    """Analyze the jobs whose findings are of older rules; yields the number of jobs of each batch.

    A job that is written meanwhile is left alone. An interrupted pass goes on where it was.
    """
    dictionaries = DictionaryStore(database)
    while True:
        with database.begin() as connection:
            rows = connection.execute(_OUTDATED).all()
            for row in rows:
                findings = analyze(_log(row, dictionaries), row.exit_code)
                connection.execute(
                    sa.update(db.jobs)
                    .where(
                        db.jobs.c.identity == row.identity,
                        db.jobs.c.epoch == row.epoch,
                        db.jobs.c.revision == row.revision,
                    )
                    .values(log_findings.columns(findings.crash, findings.errors))
                )
            if rows:
                upserts.notify_jobs(connection, {row.run for row in rows})
        if not rows:
            return
        yield len(rows)


_OUTDATED = (
    sa.select(
        *(db.jobs.c[name] for name in ("identity", "epoch", "revision", "run", "exit_code")),
        db.job_details.c.log,
    )
    .join_from(db.jobs, db.job_details, isouter=True)
    .where(db.jobs.c.log_rules < RULES_VERSION)
    .order_by(db.jobs.c.log_rules.desc(), db.jobs.c.run.desc())
    .limit(_JOBS_PER_BATCH)
)


def _log(row: Any, dictionaries: DictionaryStore) -> JobLog:
    """The log of a job, empty if it is no longer stored."""
    if row.log is None:
        return JobLog()
    try:
        return codecs.unpack_log(row.log, 0, dictionaries.for_log(row.log))
    except (zstandard.ZstdError, sa.exc.NoResultFound, UnicodeDecodeError):
        # A damaged log must not stop the others.
        return JobLog()
