"""The labels of machines, as the grabbers gave them."""

from uuid import UUID

import sqlalchemy as sa

import db


def label_of(database: sa.Engine, identity: UUID) -> str | None:
    """The label of a machine of a cluster's database; `None` if it was never mirrored."""
    statement = sa.select(db.machines.c.label).where(db.machines.c.identity == identity)
    with database.connect() as connection:
        return connection.scalar(statement)
