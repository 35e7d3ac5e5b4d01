"""The states of machines, of which a row is a change: the newest of each, however many there are."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

import db


def select_latest_states(at: datetime | None = None) -> sa.Select[Any]:
    """The newest state of each machine, or the one that it was in at a time: one look into the index each."""
    table = db.machine_states
    of_machine = sa.select(table).where(table.c.machine_id == db.machines.c.id)
    if at is not None:
        of_machine = of_machine.where(table.c.since <= at)
    last = of_machine.order_by(table.c.since.desc()).limit(1).lateral()
    return sa.select(last, db.machines.c.label).join_from(db.machines, last, sa.true())
