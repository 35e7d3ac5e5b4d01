"""Reader of the reports about a run's files: its file delivery, and its simulator in the playback cluster."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

import db
from dqm2.records import SimulatorState
from storage import codecs
from storage.database_reader import DatabaseReader
from storage.delivery_statistics import DeliveryStatistics, summarize
from storage.prepared_statements import prepared
from storage.read_models import Delivery, Playback
from storage.run_queries import RUN, newest_report_first
from storage.stored_series import unpack

_UPDATED_AT = prepared(sa.select(sa.func.max(db.deliveries.c.updated_at)).where(db.deliveries.c.run == RUN))


class DeliveryReader(DatabaseReader):
    """Reads the file delivery and the simulator of runs; of several machines' reports the newest counts."""

    def get(self, run: int) -> Delivery | None:
        """The file delivery of a run; `None` if none is mirrored."""
        row = self._newest(db.deliveries, run)
        return None if row is None else _delivery(row)

    def statistics(self, runs: Sequence[int]) -> dict[int, DeliveryStatistics]:
        """Statistics of what `get` returns, by run.

        Runs without a delivery are left out, and those with a damaged one unless its statistics are stored.
        """
        table = db.deliveries.c
        # The streams are large, and read only if nothing has computed their statistics yet.
        is_current = table.statistics_revision == table.revision
        columns = [column for column in table if column is not table.streams]
        statement = (
            sa.select(
                *columns,
                sa.case((is_current, None), else_=table.streams).label("streams"),
                db.machines.c.label,
            )
            .join(db.machines)
            .where(table.run.in_(runs))
            .order_by(table.run, *newest_report_first(table))
            .ext(distinct_on(table.run))
        )
        with self._database.connect() as connection:
            rows = connection.execute(statement).all()
        found = {row.run: _statistics(row) for row in rows}
        return {run: statistics for run, statistics in found.items() if statistics is not None}

    def updated_at(self, run: int) -> datetime | None:
        """The time of the report that `get` returns; `None` if there is none."""
        with self._database.connect() as connection:
            updated_at: datetime | None = connection.scalar(_UPDATED_AT, {"run": run})
        return updated_at

    def playback(self, run: int) -> Playback | None:
        """The simulator of a run; `None` if none is mirrored."""
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
        """The newest row of a run, with the label of the machine that reported it."""
        with self._database.connect() as connection:
            return connection.execute(_select_newest(table), {"run": run}).one_or_none()


@cache
def _select_newest(table: sa.Table) -> sa.Select[Any]:
    """Select the newest row of `run`, a parameter, with the label of the machine that reported it."""
    return prepared(
        sa.select(table, db.machines.c.label)
        .join(db.machines)
        .where(table.c.run == RUN)
        .order_by(*newest_report_first(table.c))
        .limit(1)
    )


def _statistics(row: Any) -> DeliveryStatistics | None:
    """The stored statistics, or those of the streams if the row has these; `None` if they are damaged."""
    if row.streams is None:
        return DeliveryStatistics(
            **{field.name: getattr(row, field.name) for field in fields(DeliveryStatistics)}
        )
    delivery = _delivery(row)
    return None if delivery.is_damaged else summarize(delivery)


def _delivery(row: Any) -> Delivery:
    streams = unpack(row.identity, codecs.unpack_streams, row.streams)
    return Delivery(
        id=row.identity,
        run=row.run,
        revision=row.revision,
        machine=row.label,
        updated_at=row.updated_at,
        global_start=row.global_start,
        global_start_is_guess=row.global_start_is_guess,
        lumisection_s=row.lumisection_s,
        streams=streams or (),
        is_damaged=streams is None,
    )
