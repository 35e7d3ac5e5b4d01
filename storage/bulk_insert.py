"""Inserts of many rows by one statement, with an array for each column.

With a list of rows, SQLAlchemy writes a `VALUES` for each, which takes half of the time of a wide row.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert


def insert_arrays(table: sa.Table, columns: Collection[str]) -> postgresql.Insert:
    """Insert with a parameter for each column: an array with its value in each row.

    None of the columns may be an array itself.
    """
    arrays = (sa.bindparam(name, type_=sa.ARRAY(table.c[name].type, dimensions=1)) for name in columns)
    # Side by side, not one combined with another: "Table Functions" in the manual of PostgreSQL.
    return insert(table).from_select(list(columns), sa.select(*map(sa.func.unnest, arrays)))


def by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The parameters of such an insert: the values of each column. All rows have the same columns."""
    return {name: [row[name] for row in rows] for name in rows[0]}
