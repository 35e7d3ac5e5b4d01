"""The machines of a cluster: their permanent labels, and when they went up or down."""

from collections.abc import Mapping
from functools import cache
from itertools import islice
from typing import Any
from uuid import UUID

import sqlalchemy as sa

import db
from storage.prepared_statements import prepared

# Appended to a default label that is taken already: docs/data-policy.md, "Allowlist".
_LABEL_NUMBER = "·{}"


def find_label(database: sa.Engine, identity: UUID) -> str | None:
    """The label of a machine; `None` if it was never mirrored."""
    statement = sa.select(db.machines.c.label).where(db.machines.c.identity == identity)
    with database.connect() as connection:
        return connection.scalar(statement)


def register(
    connection: sa.Connection, default_labels: Mapping[UUID, str], *, limit: int | None = None
) -> None:
    """Insert the machines that are seen for the first time, each with a unique label.

    `limit`: no machine is added beyond this total.
    """
    labels = {row.identity: row.label for row in connection.execute(sa.select(db.machines))}
    new = {identity: label for identity, label in default_labels.items() if identity not in labels}
    if limit is not None:
        new = dict(islice(new.items(), max(0, limit - len(labels))))
    if new:
        unique = _unique_labels(new, set(labels.values()))
        rows = [{"identity": identity, "label": unique[identity]} for identity in new]
        connection.execute(sa.insert(db.machines), rows)


@cache
def select_latest_states() -> sa.Select[Any]:
    """Select the latest state of each machine, by one index lookup per machine."""
    return _select_states()


@cache
def select_states_at() -> sa.Select[Any]:
    """Select the state of each machine at the time `at`, a parameter."""
    return _select_states(db.machine_states.c.since <= sa.bindparam("at"))


def _select_states(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Select the latest state of each machine of those that meet all conditions."""
    table = db.machine_states
    of_machine = sa.select(table).where(table.c.machine_id == db.machines.c.id, *conditions)
    latest = of_machine.order_by(table.c.since.desc()).limit(1).lateral()
    columns = (db.machines.c.label, db.machines.c.state_checked_at)
    return prepared(sa.select(latest, *columns).join_from(db.machines, latest, sa.true()))


def _unique_labels(new: Mapping[UUID, str], taken: set[str]) -> dict[UUID, str]:
    """A label for each new machine: its default label, numbered if another machine has the same."""
    defaults = list(new.values())
    labels: dict[UUID, str] = {}
    for identity, default in new.items():
        number = 1 if defaults.count(default) > 1 else 0
        label = default + _LABEL_NUMBER.format(number) if number else default
        while label in taken or (number < 2 and default in taken):
            number = max(number, 1) + 1
            label = default + _LABEL_NUMBER.format(number)
        labels[identity] = label
        taken.add(label)
    return labels
