"""Rows of jobs with what their machines say, as readers select them: each a `NamedTuple` of its columns.

Of a page's thousands of fields each is found by its place: by its name, SQLAlchemy's own rows take as long as
all else that is made of them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

import db

RowT = TypeVar("RowT", bound=NamedTuple)

# What a field that is not a column of the job itself is of its machine.
_OF_MACHINE: Mapping[str, sa.Column[Any]] = {
    "machine": db.machines.c.label,
    "machine_clock_at": db.machines.c.clock_at,
    "machine_newest_run": db.machines.c.newest_run,
}


def select(row: type[NamedTuple]) -> sa.Select[Any]:
    """Selects the fields of a row, of all jobs."""
    columns = [_OF_MACHINE[field] if field in _OF_MACHINE else db.jobs.c[field] for field in row._fields]
    return sa.select(*columns).join_from(db.jobs, db.machines)


def read(connection: sa.Connection, statement: sa.Select[Any], row: type[RowT]) -> list[RowT]:
    """The rows of a statement that `select` began for them."""
    return [row._make(found) for found in connection.execute(statement).all()]
