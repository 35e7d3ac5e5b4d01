"""The labels of machines: given at first sight, of their masks, and kept."""

from collections.abc import Mapping
from itertools import islice
from uuid import UUID

import sqlalchemy as sa

import db

# A label that is taken gets the first free number behind it: data policy, "machine".
_LABEL_NUMBER = "·{}"


def find_label(database: sa.Engine, identity: UUID) -> str | None:
    """The label of a machine of a cluster's database; `None` if it was never mirrored."""
    statement = sa.select(db.machines.c.label).where(db.machines.c.identity == identity)
    with database.connect() as connection:
        return connection.scalar(statement)


def register(
    connection: sa.Connection, default_labels: Mapping[UUID, str], *, limit: int | None = None
) -> None:
    """Makes rows of those machines that are seen for the first time, each with a label made of its mask.

    `most`: where there are so many machines, no more are made.
    """
    labels = {row.identity: row.label for row in connection.execute(sa.select(db.machines))}
    new = {identity: mask for identity, mask in default_labels.items() if identity not in labels}
    if limit is not None:
        new = dict(islice(new.items(), max(0, limit - len(labels))))
    if new:
        given = _labels(new, set(labels.values()))
        rows = [{"identity": identity, "label": given[identity]} for identity in new]
        connection.execute(sa.insert(db.machines), rows)


def _labels(new: Mapping[UUID, str], taken: set[str]) -> dict[UUID, str]:
    """A label for each new machine: its mask, with a number behind it where another has the same."""
    masks = list(new.values())
    labels: dict[UUID, str] = {}
    for identity, mask in new.items():
        number = 1 if masks.count(mask) > 1 else 0
        label = mask + _LABEL_NUMBER.format(number) if number else mask
        while label in taken or (number < 2 and mask in taken):
            number = max(number, 1) + 1
            label = mask + _LABEL_NUMBER.format(number)
        labels[identity] = label
        taken.add(label)
    return labels
