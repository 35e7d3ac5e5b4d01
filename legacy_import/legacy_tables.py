"""Tables of the earlier mirror: their columns, renaming, and access to their rows.

They are renamed to `legacy_…`. They contain unredacted host names, ids and logs, so a row security policy
hides their rows, from their owner as well, except in transactions that call `allow_reads`. Roles that are
exempt from policies, such as superusers, see them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

PREFIX = "legacy_"
TABLES = ("runs", "graphs", "meta", "hostnames", "hoststatuses")
# Saves a sequential scan per batch of runs.
_RUN_INDEX = "runs_run_legacy_import"
_POLICY = "legacy_import"
_READ_SETTING = "dqmsquare.legacy_import"
_SHORT_HOST = "^[a-z0-9][a-z0-9-]*$"
_MAX_HOST_LENGTH = 63
_HOST_IN_ID = "(?:-host|^dqm-files-|^dqm-stats-)(.+?)(?:-pid[0-9]+|-analyze_files-run[0-9]+)?$"
# The earlier mirror stored unknown times as 2012-03-03 or 1970.
_MIN_TIME = sa.text("timestamptz '2012-03-05 00:00+00'")
# With tolerance for a clock that is ahead.
_MAX_TIME = sa.text("now() + interval '1 day'")


@dataclass(frozen=True)
class ColumnType:
    """The type of a column, and the names of the PostgreSQL types that are accepted for it."""

    type: TypeEngine[Any]
    names: tuple[str, ...]


_TEXT = ColumnType(sa.Text(), ("text", "character varying"))
_NUMBER = ColumnType(sa.BigInteger(), ("integer", "smallint", "bigint"))
_RUN = ColumnType(sa.Integer(), ("integer", "smallint"))
_RATE = ColumnType(sa.REAL(), ("real", "double precision"))
_FLAG = ColumnType(sa.Boolean(), ("boolean",))
NAIVE_TIME = "timestamp without time zone"
# The first versions stored times without a zone, by the clock of a pod, which is in UTC. Sessions are in
# UTC, and so PostgreSQL takes them as such.
_TIME = ColumnType(sa.TIMESTAMP(timezone=True), ("timestamp with time zone", NAIVE_TIME))

_OF_DOCUMENT = {"id": _TEXT, "run": _RUN, "rev": _NUMBER, "hostname": _TEXT, "timestamp": _TIME}
# The columns that are read.
COLUMNS: Mapping[str, Mapping[str, ColumnType]] = {
    "runs": {
        **_OF_DOCUMENT,
        **dict.fromkeys(("exit_code", "events_total", "cmssw_run", "cmssw_lumi"), _NUMBER),
        "events_rate": _RATE,
        **dict.fromkeys(("client", "client_path", "runkey", "fi_state", "vmrss"), _TEXT),
        **dict.fromkeys(("stdlog_start", "stdlog_end"), _TEXT),
    },
    "graphs": {**_OF_DOCUMENT, "global_start": _TIME, "stream_data": _TEXT},
    "hostnames": {"id": _NUMBER, "name": _TEXT},
    "hoststatuses": {
        "id": _NUMBER,
        "host_id": _NUMBER,
        "created_at": _TIME,
        "is_up": _FLAG,
        "message": _TEXT,
    },
}


@dataclass(frozen=True)
class LegacyTables:
    """The tables that are imported."""

    runs: sa.TableClause
    graphs: sa.TableClause
    hostnames: sa.TableClause
    hoststatuses: sa.TableClause


def _tables(prefix: str) -> LegacyTables:
    return LegacyTables(
        **{
            table: sa.table(prefix + table, *(sa.column(name, kind.type) for name, kind in columns.items()))
            for table, columns in COLUMNS.items()
        }
    )


ORIGINAL = _tables("")
RENAMED = _tables(PREFIX)


def host(table: sa.TableClause) -> sa.ColumnElement[str | None]:
    """The short host name of a document, from its column or from its id."""
    return short_host(
        sa.func.coalesce(
            sa.func.nullif(sa.func.btrim(table.c.hostname), ""), sa.func.substring(table.c.id, _HOST_IN_ID)
        )
    )


def short_host(name: sa.ColumnElement[str]) -> sa.ColumnElement[str | None]:
    """A host name without its domain, in lower case (`dqm2/pseudonyms.py`); null if it is invalid."""
    short = sa.func.lower(sa.func.split_part(sa.func.btrim(name), ".", 1))
    is_valid = sa.and_(short.regexp_match(_SHORT_HOST), sa.func.length(short) <= _MAX_HOST_LENGTH)
    return sa.case((is_valid, short), else_=None)


def has_run(table: sa.TableClause) -> sa.ColumnElement[bool]:
    """Whether a document belongs to a run; some versions of the earlier mirror stored -1 for none."""
    return sa.func.coalesce(table.c.run, -1) >= 0


def unix_seconds(time: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
    """A time in unix seconds."""
    return sa.cast(sa.extract("epoch", time), sa.Double)


def is_known(time: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether a time is valid and not a placeholder for an unknown one."""
    return sa.and_(time >= _MIN_TIME, time <= _MAX_TIME)


def allow_reads(connection: sa.Connection) -> None:
    """Make the rows of the renamed tables visible until the end of the transaction."""
    connection.execute(sa.select(sa.func.set_config(_READ_SETTING, "on", sa.true())))


def has_machine_states(connection: sa.Connection, tables: LegacyTables) -> bool:
    """Whether the earlier mirror stored machine states; its first versions did not."""
    found = sa.inspect(connection)
    return found.has_table(tables.hostnames.name) and found.has_table(tables.hoststatuses.name)


def lock_for_write(connection: sa.Connection) -> None:
    """Block writes to the original tables until the end of the transaction; reads continue."""
    connection.execute(sa.text("LOCK TABLE runs, graphs IN SHARE MODE"))


def rename(connection: sa.Connection) -> None:
    """Rename the original tables and hide their rows."""
    # Before the exclusive locks, because it takes long.
    connection.execute(sa.text(f"CREATE INDEX {_RUN_INDEX} ON runs (run)"))
    for name in existing(connection, TABLES):
        _rename(connection, name, PREFIX + name)
        for statement in (
            "ALTER TABLE {} ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE {} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY {_POLICY} ON {{}} USING (current_setting('{_READ_SETTING}', true) = 'on')",
        ):
            connection.execute(sa.text(statement.format(PREFIX + name)))


def restore_names(connection: sa.Connection) -> None:
    """Undo `rename`."""
    for name in existing(connection, [PREFIX + name for name in TABLES]):
        for statement in (
            f"DROP POLICY {_POLICY} ON {{}}",
            "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY",
            "ALTER TABLE {} DISABLE ROW LEVEL SECURITY",
        ):
            connection.execute(sa.text(statement.format(name)))
        _rename(connection, name, name.removeprefix(PREFIX))
    connection.execute(sa.text(f"DROP INDEX {_RUN_INDEX}"))


def drop(connection: sa.Connection) -> None:
    """Drop the renamed tables."""
    # In one statement, because of a foreign key between them.
    connection.execute(sa.text(f"DROP TABLE IF EXISTS {', '.join(PREFIX + name for name in TABLES)}"))


def existing(connection: sa.Connection, names: Sequence[str]) -> list[str]:
    """The tables among `names` that exist."""
    found = sa.inspect(connection)
    return [name for name in names if found.has_table(name)]


def _rename(connection: sa.Connection, old: str, new: str) -> None:
    """Rename a table with its indexes and constraints, whose names the new schema needs."""
    quote = connection.dialect.identifier_preparer.quote
    indexes = sa.text(
        "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE indrelid = CAST(:name AS regclass) AND relname LIKE :pattern"
    )
    for index in connection.scalars(indexes, {"name": old, "pattern": f"{old}%"}).all():
        new_index = new + index.removeprefix(old)
        connection.execute(sa.text(f"ALTER INDEX {quote(index)} RENAME TO {quote(new_index)}"))
    connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))
