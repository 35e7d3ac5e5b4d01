"""Checks before an import, which change nothing, and the dry run.

The legacy schema is known. A difference is reported here with the name of the column, instead of as an SQL
error in the middle of the import.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain

import sqlalchemy as sa

import db
from dqm2.document_parser import InvalidDocument
from dqm2.pseudonyms import default_label
from legacy_import import legacy_tables, machine_states
from legacy_import.importer import Importer
from legacy_import.legacy_reader import ALL_RUNS, LegacyDelivery, LegacyJob, LegacyReader
from legacy_import.legacy_tables import ORIGINAL

_ENCODING = "UTF8"
# The first versions of the earlier mirror had no machine states.
_REQUIRED_TABLES = ("runs", "graphs")
_ORDINARY_TABLE = "r"
# Later than any report: logs take most of the time to read and are never a reason to skip a row.
_NO_LOGS = datetime(9999, 1, 1, tzinfo=UTC)


class PreflightFailed(Exception):
    """Raised if a database can't be imported; the message gives the reasons to the operator."""


def check(connection: sa.Connection) -> None:
    """Raise PreflightFailed unless the legacy tables are as expected and this role may rename them."""
    if problems := [*_database_problems(connection), *_table_problems(connection)]:
        raise PreflightFailed("; ".join(problems))


def dry_run(database: sa.Engine, importer: Importer) -> Iterator[str]:
    """A report of what an import would do, line by line. Raises PreflightFailed if it would be refused."""
    with database.connect() as connection:
        connection.execute(sa.text("SET TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ"))
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        check(connection)
        yield from _naive_times(connection)
        yield from _counts(connection)
        yield from _skipped(connection, importer)
        if legacy_tables.has_machine_states(connection, ORIGINAL):
            polls = _count(connection, ORIGINAL.hoststatuses)
            changes = _count(connection, machine_states.state_changes(ORIGINAL).subquery())
            yield f"machine states: {polls}, of which {changes} are changes"


def _database_problems(connection: sa.Connection) -> Iterator[str]:
    encoding: str = connection.execute(sa.text("SHOW server_encoding")).scalar_one()
    if encoding != _ENCODING:
        yield (
            f"its encoding is {encoding}, which can't store every text: dump it, and restore it into a "
            f"database created with `createdb --encoding={_ENCODING} --template=template0`"
        )
    schema = sa.func.current_schema()
    may_create = sa.func.has_schema_privilege(schema, "CREATE")
    for name in connection.scalars(sa.select(schema).where(sa.not_(may_create))):
        yield f"POSTGRES_USERNAME may not create tables: GRANT CREATE ON SCHEMA {name}"


def _table_problems(connection: sa.Connection) -> Iterator[str]:
    existing = legacy_tables.existing(connection, legacy_tables.TABLES)
    yield from (f"table {name} is missing" for name in _REQUIRED_TABLES if name not in existing)
    # Legacy tables may have the names of new ones, because they are renamed first.
    created = [name for name in db.metadata.tables if name not in legacy_tables.TABLES]
    needed = [*(legacy_tables.PREFIX + name for name in legacy_tables.TABLES), *created]
    for name in legacy_tables.existing(connection, needed):
        yield f"table {name} already exists, but its name is needed: rename it"
    for owner, names in _foreign_tables(connection, existing).items():
        yield f"the role {owner}, of which POSTGRES_USERNAME is not a member, owns {', '.join(names)}"
    for name in existing:
        yield from _column_problems(connection, name)


def _foreign_tables(connection: sa.Connection, tables: Sequence[str]) -> dict[str, list[str]]:
    """The tables that this role can't rename, by owner."""
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


def _types(connection: sa.Connection, name: str) -> dict[str, str]:
    """The types of a table's columns."""
    columns = sa.text(
        "SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute"
        " WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped"
    )
    return {row.attname: row.type for row in connection.execute(columns, {"name": name})}


def _column_problems(connection: sa.Connection, name: str) -> Iterator[str]:
    kind = sa.text("SELECT relkind FROM pg_class WHERE oid = to_regclass(:name)")
    if connection.scalar(kind, {"name": name}) != _ORDINARY_TABLE:
        yield f"{name} is not an ordinary table"
    types = _types(connection, name)
    for column, expected in legacy_tables.COLUMNS.get(name, {}).items():
        if column not in types:
            yield f"{name} has no column {column}"
        elif types[column] not in expected.names:
            yield f"{name}.{column} is {types[column]}, not {expected.names[0]}"


def _naive_times(connection: sa.Connection) -> Iterator[str]:
    """A line about the columns whose times have no zone."""
    naive = [
        f"{name}.{column}"
        for name in legacy_tables.existing(connection, list(legacy_tables.COLUMNS))
        for column, kind in _types(connection, name).items()
        if column in legacy_tables.COLUMNS[name] and kind == legacy_tables.NAIVE_TIME
    ]
    if naive:
        yield f"times without a zone, which are taken as UTC: {', '.join(naive)}"


def _counts(connection: sa.Connection) -> Iterator[str]:
    runs, graphs = ORIGINAL.runs, ORIGINAL.graphs
    has_run = legacy_tables.has_run(runs)
    counted = connection.execute(
        sa.select(
            sa.func.count().filter(has_run).label("jobs"),
            sa.func.count(runs.c.run.distinct()).filter(has_run).label("runs"),
            sa.func.min(runs.c.run).filter(has_run).label("first"),
            sa.func.max(runs.c.run).filter(has_run).label("last"),
            sa.func.count().filter(sa.not_(has_run)).label("without_run"),
        )
    ).one()
    yield f"jobs: {counted.jobs}, of {counted.runs} runs from {counted.first} to {counted.last}"
    yield f"file deliveries: {_count(connection, graphs)}"
    yield f"rows without a run, such as dqm-stats, which contain nothing to import: {counted.without_run}"
    hosts = sa.union(sa.select(legacy_tables.host(runs)), sa.select(legacy_tables.host(graphs)))
    labels = sorted(default_label(host) for host in connection.scalars(hosts) if host is not None)
    yield f"machines: {', '.join(labels)}"


def _skipped(connection: sa.Connection, importer: Importer) -> Iterator[str]:
    """Documents and fields that the import would skip; each document is converted, but not written."""
    reader = LegacyReader(connection, ORIGINAL, logs_since=_NO_LOGS)
    now = datetime.now(UTC)
    skipped: Counter[str] = Counter()
    dropped_fields: Counter[str] = Counter()
    documents: Iterator[LegacyJob | LegacyDelivery] = chain(
        reader.jobs(ALL_RUNS), reader.deliveries(ALL_RUNS)
    )
    for document in documents:
        try:
            dropped_fields.update(importer.to_row(document, None, now)[1])
        except InvalidDocument as error:
            skipped[str(error)] += 1
    for reason, number in sorted(skipped.items()):
        yield f"documents to skip: {number}, {reason}"
    for field, number in sorted(dropped_fields.items()):
        yield f"invalid values to drop: {number}, of {field}"


def _count(connection: sa.Connection, rows: sa.FromClause) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(rows)).scalar_one()
