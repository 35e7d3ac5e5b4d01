"""Statistics of deliveries that were stored by a program which did not compute them."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

import db
from storage import codecs
from storage.codecs import DamagedSeries
from storage.delivery_statistics import summarize
from storage.read_models import Delivery

# About 50 ms of work.
_DELIVERIES_PER_BATCH = 20

_table = db.deliveries.c
# The condition of the index.
_IS_OUTDATED = _table.statistics_revision.is_distinct_from(_table.revision)


def summarize_outdated(database: sa.Engine) -> Iterator[int]:
    """Store the missing statistics, of the newest runs first; yields the number of deliveries of each batch.

    A delivery that is written meanwhile is left alone. An interrupted pass continues where it was. Readers
    get the same figures before and after.
    """
    outdated = sa.select(db.deliveries).where(_IS_OUTDATED).order_by(_table.run.desc())
    while True:
        with database.begin() as connection:
            rows = connection.execute(outdated.limit(_DELIVERIES_PER_BATCH)).all()
            for row in rows:
                of_row = (_table.identity == row.identity, _table.epoch == row.epoch)
                connection.execute(
                    sa.update(db.deliveries)
                    .where(*of_row, _table.revision == row.revision)
                    .values(**_statistics(row), statistics_revision=row.revision)
                )
        if not rows:
            return
        yield len(rows)


def _statistics(row: Any) -> dict[str, Any]:
    try:
        return asdict(
            summarize(
                Delivery(
                    id=row.identity,
                    run=row.run,
                    revision=row.revision,
                    machine="",
                    updated_at=row.updated_at,
                    global_start=row.global_start,
                    global_start_is_guess=row.global_start_is_guess,
                    lumisection_s=row.lumisection_s,
                    streams=codecs.unpack_streams(row.streams),
                )
            )
        )
    except DamagedSeries:
        # It must not stop the others.
        return {}
