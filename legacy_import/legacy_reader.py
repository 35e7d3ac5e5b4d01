"""Rows of the legacy tables, converted to the DQM² documents that they were made from.

Rows are streamed. Their values are untrusted until the allowlist has parsed the documents.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dqm2.field_parsers import INT4_MAX
from dqm2.records import DocumentType
from legacy_import import legacy_tables, repr_parser
from legacy_import.legacy_tables import LegacyTables

# The earlier mirror's value for a number that a document does not have, as the exit code of a running job.
NO_NUMBER = -1
# The `str` of a field that a document does not have.
_NOTHING = (None, "", "None")
_ROWS_PER_FETCH = 200
# In the order of the fields of `LegacyJob`.
_JOB_COLUMNS = (
    *("client", "exit_code", "events_total", "events_rate", "cmssw_run", "cmssw_lumi"),
    *("client_path", "runkey", "fi_state", "vmrss"),
)
# Longer texts are cut; `dqm2/series_parsers.py` accepts no more of a log either.
_MAX_CHARACTERS = 4 * 1024 * 1024

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LegacyDocument:
    """Fields common to jobs and file deliveries.

    `at_s`: time of the report; `run_at_s`: time of the newest report of the run; both in unix seconds.
    """

    id: str | None
    host: str | None
    run: int
    revision: int | None
    at_s: float | None
    run_at_s: float | None


@dataclass(frozen=True, slots=True)
class LegacyJob(LegacyDocument):
    """A row of `runs`; `log_head` and `log_tail` are the `repr` of a list of lines."""

    client: str | None
    exit_code: int | None
    events_total: int | None
    events_rate: float | None
    cmssw_run: int | None
    cmssw_lumi: int | None
    client_path: str | None
    runkey: str | None
    fi_state: str | None
    vmrss: str | None
    log_head: str | None
    log_tail: str | None

    def to_document(self) -> Document:
        """The job's document.

        Without a known exit code its revision is one lower, so that DQM²'s own document replaces it.
        """
        return {
            **_common_fields(self, DocumentType.JOB, revision_offset=0 if self.is_finished else -1),
            "tag": self.client or None,
            "exit_code": _number(self.exit_code),
            "events_total": _number(self.events_total),
            "events_rate": _number(self.events_rate),
            "cmssw_run": _number(self.cmssw_run),
            "cmssw_lumi": _number(self.cmssw_lumi),
            "fi_state": self.fi_state or None,
            "cmdline": [self.client_path, self.runkey],
            "extra": {
                "ps_info": {"VmRSS": self.vmrss or None},
                "stdlog_start": _log(self.log_head),
                "stdlog_end": _log(self.log_tail),
            },
        }

    @property
    def is_finished(self) -> bool:
        """Whether the exit code is known; -1 can be that of a job or mean that it was running."""
        return _number(self.exit_code) is not None


@dataclass(frozen=True, slots=True)
class LegacyDelivery(LegacyDocument):
    """A row of `graphs`; `streams` is the `repr` of a dictionary, `global_start_s` in unix seconds."""

    global_start_s: float | None
    streams: str | None

    def to_document(self) -> Document:
        """The document of the run's file delivery."""
        return {
            **_common_fields(self, DocumentType.DELIVERY),
            "extra": {"global_start": self.global_start_s, "streams": _streams(self.streams)},
        }


@dataclass(frozen=True, slots=True)
class RunRange:
    """Runs from the first to the last."""

    first: int
    last: int

    def includes(self, table: sa.TableClause) -> sa.ColumnElement[bool]:
        """Condition that a document belongs to one of the runs; false without a run."""
        return table.c.run.between(self.first, self.last)


ALL_RUNS = RunRange(0, INT4_MAX)


@dataclass(frozen=True, slots=True)
class LegacyReader:
    """Reads the legacy tables; logs only of jobs that reported after `logs_since`."""

    connection: sa.Connection
    tables: LegacyTables
    logs_since: datetime | None = None

    def jobs(self, runs: RunRange) -> Iterator[LegacyJob]:
        """The jobs of some runs."""
        table = self.tables.runs
        columns = [table.c[name] for name in _JOB_COLUMNS]
        logs = (self._log(table.c.stdlog_start), self._log(table.c.stdlog_end))
        newest_s = self._newest_s(runs)
        for row in self._rows(table, runs, *columns, *logs):
            document_id, host, run, revision, at_s, *job_values = tuple(row)
            yield LegacyJob(document_id, host, run, revision, at_s, newest_s.get(run), *job_values)

    def deliveries(self, runs: RunRange) -> Iterator[LegacyDelivery]:
        """The file deliveries of some runs."""
        table = self.tables.graphs
        columns = (_known_s(table.c.global_start), _truncated(table.c.stream_data))
        newest_s = self._newest_s(runs)
        for row in self._rows(table, runs, *columns):
            document_id, host, run, revision, at_s, *delivery_values = tuple(row)
            yield LegacyDelivery(document_id, host, run, revision, at_s, newest_s.get(run), *delivery_values)

    def _rows(
        self, table: sa.TableClause, runs: RunRange, *columns: sa.ColumnElement[Any]
    ) -> Iterator[sa.Row[Any]]:
        statement = sa.select(
            table.c.id,
            legacy_tables.host(table),
            table.c.run,
            table.c.rev,
            _known_s(table.c.timestamp),
            *columns,
        ).where(runs.includes(table))
        options = {"stream_results": True, "yield_per": _ROWS_PER_FETCH}
        return iter(self.connection.execute(statement, execution_options=options))

    def _newest_s(self, runs: RunRange) -> dict[int, float]:
        """The newest known time of each run, in unix seconds."""
        jobs, deliveries = self.tables.runs, self.tables.graphs
        times = sa.union_all(
            *(
                sa.select(table.c.run, time.label("time")).where(
                    runs.includes(table), legacy_tables.is_known(time)
                )
                for table, time in (
                    (jobs, jobs.c.timestamp),
                    (deliveries, deliveries.c.timestamp),
                    (deliveries, deliveries.c.global_start),
                )
            )
        ).subquery()
        newest_s = legacy_tables.unix_seconds(sa.func.max(times.c.time)).label("at_s")
        found = self.connection.execute(sa.select(times.c.run, newest_s).group_by(times.c.run))
        return {row.run: row.at_s for row in found}

    def _log(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[str | None]:
        text = _truncated(column)
        if self.logs_since is None:
            return text
        return sa.case((self.tables.runs.c.timestamp >= self.logs_since, text), else_=None)


def _truncated(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A text of limited length. PostgreSQL counts bytes without decompressing the text."""
    is_short = sa.func.octet_length(column) <= _MAX_CHARACTERS
    return sa.case((is_short, column), else_=sa.func.left(column, _MAX_CHARACTERS))


def _known_s(time: sa.ColumnElement[Any]) -> sa.ColumnElement[float | None]:
    return sa.case((legacy_tables.is_known(time), legacy_tables.unix_seconds(time)), else_=None)


def _common_fields(document: LegacyDocument, kind: DocumentType, revision_offset: int = 0) -> Document:
    return {
        "_id": document.id,
        "_rev": max((document.revision or 0) + revision_offset, 0),
        "type": kind.value,
        "run": document.run,
        "timestamp": document.at_s,
        "report_timestamp": document.run_at_s,
    }


def _number(value: float | None) -> float | None:
    return None if value == NO_NUMBER else value


def _log(text: str | None) -> str | None:
    """A log; a text that is not a list of lines is used as it is, with escaped newlines replaced."""
    if text in _NOTHING:
        return None
    log = repr_parser.parse_log(text)
    return text.replace("\\n", "\n") if log is None else log


def _streams(text: str | None) -> object:
    """The streams; an invalid text is returned as it is, and dropped by the allowlist."""
    if text in _NOTHING:
        return None
    streams = repr_parser.parse_streams(text)
    return text if streams is None else streams
