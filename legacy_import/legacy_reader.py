"""What is read of the earlier mirror's tables, row by row, without having much of it in memory at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from legacy_import import legacy_tables
from legacy_import.legacy_documents import EarlierDelivery, EarlierJob
from legacy_import.legacy_tables import EarlierTables

_ROWS_AT_ONCE = 200
# As `EarlierJob` has them.
_OF_JOB = (
    *("client", "exit_code", "events_total", "events_rate", "cmssw_run", "cmssw_lumi"),
    *("client_path", "runkey", "fi_state", "vmrss"),
)
# What is longer is no log and no streams of this life: `dqm2/job_log.py` takes no more either.
_MOST_CHARACTERS = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs from the first to the last."""

    first: int
    last: int

    def hold(self, table: sa.TableClause) -> sa.ColumnElement[bool]:
        """Whether a document is of one of them; those of no run are of none."""
        return table.c.run.between(self.first, self.last)


ALL_RUNS = Runs(-(2**31), 2**31 - 1)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the earlier tables on a connection; logs are read of jobs that reported after `logs_since`."""

    connection: sa.Connection
    tables: EarlierTables
    logs_since: datetime | None = None

    def jobs(self, runs: Runs) -> Iterator[EarlierJob]:
        """The jobs of runs."""
        table = self.tables.runs
        columns = [table.c[name] for name in _OF_JOB]
        logs = (self._log(table.c.stdlog_start), self._log(table.c.stdlog_end))
        known_s = self._latest_s(runs)
        for row in self._rows(table, runs, *columns, *logs):
            document_id, host, run, revision, at_s, *of_job = tuple(row)
            yield EarlierJob(document_id, host, run, revision, at_s, known_s.get(run), *of_job)

    def deliveries(self, runs: Runs) -> Iterator[EarlierDelivery]:
        """The file delivery of runs."""
        table = self.tables.graphs
        start_s = _known_s(table.c.global_start)
        streams = _bounded(table.c.stream_data)
        known_s = self._latest_s(runs)
        for row in self._rows(table, runs, start_s, streams):
            document_id, host, run, revision, at_s, *of_delivery = tuple(row)
            yield EarlierDelivery(document_id, host, run, revision, at_s, known_s.get(run), *of_delivery)

    def _rows(
        self, table: sa.TableClause, runs: Runs, *columns: sa.ColumnElement[Any]
    ) -> Iterator[sa.Row[Any]]:
        statement = sa.select(
            table.c.id,
            legacy_tables.host(table),
            table.c.run,
            table.c.rev,
            _known_s(table.c.timestamp),
            *columns,
        ).where(runs.hold(table))
        options = {"stream_results": True, "yield_per": _ROWS_AT_ONCE}
        return iter(self.connection.execute(statement, execution_options=options))

    def _latest_s(self, runs: Runs) -> dict[int, float]:
        """When anything of a run was last reported, as far as that is known; unix seconds."""
        jobs, deliveries = self.tables.runs, self.tables.graphs
        times = sa.union_all(
            *(
                sa.select(table.c.run, time.label("time")).where(
                    runs.hold(table), legacy_tables.is_known(time)
                )
                for table, time in (
                    (jobs, jobs.c.timestamp),
                    (deliveries, deliveries.c.timestamp),
                    (deliveries, deliveries.c.global_start),
                )
            )
        ).subquery()
        latest_s = legacy_tables.at_s(sa.func.max(times.c.time)).label("at_s")
        found = self.connection.execute(sa.select(times.c.run, latest_s).group_by(times.c.run))
        return {row.run: row.at_s for row in found}

    def _log(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[str | None]:
        text = _bounded(column)
        if self.logs_since is None:
            return text
        return sa.case((self.tables.runs.c.timestamp >= self.logs_since, text), else_=None)


def _bounded(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A text that is not longer than it may be. To count bytes, PostgreSQL needn't unpack it."""
    is_short = sa.func.octet_length(column) <= _MOST_CHARACTERS
    return sa.case((is_short, column), else_=sa.func.left(column, _MOST_CHARACTERS))


def _known_s(time: sa.ColumnElement[Any]) -> sa.ColumnElement[float | None]:
    return sa.case((legacy_tables.is_known(time), legacy_tables.at_s(time)), else_=None)
