"""Whether a database with an earlier mirror's tables can be taken over, told before anything is done to it.

The schema that is taken over is known. What is of another one would come to light in the middle, as an error
that names no column.
"""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

import db
from legacy_import import legacy_tables

_ENCODING = "UTF8"
# The first earlier mirrors kept no states of machines.
_NEEDED = ("runs", "graphs")
_ORDINARY = "r"


class Unfit(Exception):
    """Why a database can't be taken over, in a sentence for the operator."""


def refuse_unfit(connection: sa.Connection) -> None:
    """Raises Unfit where the earlier tables are not what they should be, or not this role's to rename."""
    if misfits := [*_of_database(connection), *_of_tables(connection)]:
        raise Unfit("; ".join(misfits))


def _of_database(connection: sa.Connection) -> Iterator[str]:
    encoding: str = connection.execute(sa.text("SHOW server_encoding")).scalar_one()
    if encoding != _ENCODING:
        yield (
            f"its encoding is {encoding}, which does not hold every text: dump it, and restore it into a "
            f"database made with `createdb --encoding={_ENCODING} --template=template0`"
        )
    schema = sa.func.current_schema()
    may_create = sa.func.has_schema_privilege(schema, "CREATE")
    for name in connection.scalars(sa.select(schema).where(sa.not_(may_create))):
        yield f"POSTGRES_USERNAME may not make tables in it: GRANT CREATE ON SCHEMA {name}"


def _of_tables(connection: sa.Connection) -> Iterator[str]:
    found = legacy_tables.present(connection, legacy_tables.TABLES)
    yield from (f"it has no table {name}" for name in _NEEDED if name not in found)
    needed = [*(legacy_tables.PREFIX + name for name in legacy_tables.TABLES), *_made()]
    for name in legacy_tables.present(connection, needed):
        yield f"it has a table {name} already, whose name is needed: rename it"
    for owner, names in _of_others(connection, found).items():
        yield f"the role {owner}, of which POSTGRES_USERNAME is no member, owns {', '.join(names)}"
    for name in found:
        yield from _of_table(connection, name)


def _of_others(connection: sa.Connection, tables: Sequence[str]) -> dict[str, list[str]]:
    """Tables that this role can't rename, by their owner."""
    statement = sa.text(
        "SELECT pg_get_userbyid(relowner) FROM pg_class"
        " WHERE oid = to_regclass(:name) AND NOT pg_has_role(relowner, 'USAGE')"
    )
    names: dict[str, list[str]] = {}
    for name in tables:
        owner: str | None = connection.scalar(statement, {"name": name})
        if owner is not None:
            names.setdefault(owner, []).append(name)
    return names


def _made() -> list[str]:
    """The tables that are made beside the earlier ones, save those that take the name of one."""
    return [name for name in db.metadata.tables if name not in legacy_tables.TABLES]


def _of_table(connection: sa.Connection, name: str) -> Iterator[str]:
    statement = sa.text("SELECT relkind FROM pg_class WHERE oid = to_regclass(:name)")
    if connection.scalar(statement, {"name": name}) != _ORDINARY:
        yield f"{name} is no ordinary table"
    types = _types(connection, name)
    for column, kind in legacy_tables.COLUMNS.get(name, {}).items():
        if column not in types:
            yield f"{name} has no column {column}"
        elif types[column] not in kind.names:
            yield f"{name}.{column} is {types[column]}, not {kind.names[0]}"


def _types(connection: sa.Connection, name: str) -> dict[str, str]:
    statement = sa.text(
        "SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute"
        " WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped"
    )
    return {row.attname: row.type for row in connection.execute(statement, {"name": name})}
