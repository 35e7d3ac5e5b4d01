"""The earlier mirror's tables: what they are called, who may read them, and what is read of them.

Set apart, they are called `legacy_…`. They hold host names, ids and logs as they were at P5, so that nobody
reads them who does not say that it is for the adoption: a policy on their rows holds for every role, their
owner included, save one that no policy holds for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

PREFIX = "legacy_"
TABLES = ("runs", "graphs", "meta", "hostnames", "hoststatuses")
# Without the index a batch of runs would cost a look at all of them.
_RUN_INDEX = "runs_run_adoption"
_POLICY = "adoption"
_ADOPTING = "dqmsquare.adopting"
# What can be a host's name; anything else names none.
_SHORT_HOST = "^[a-z0-9][a-z0-9-]*$"
_LONGEST = 63
_HOST_IN_ID = "(?:-host|^dqm-files-|^dqm-stats-)(.+?)(?:-pid[0-9]+|-analyze_files-run[0-9]+)?$"
# A time that the earlier mirror did not know is one of these: 2012-03-03, or 1970.
KNOWN_FROM = sa.text("timestamptz '2012-03-05 00:00+00'")
# No time that is known is later than this: a clock may be ahead.
KNOWN_TO = sa.text("now() + interval '1 day'")


@dataclass(frozen=True)
class Kind:
    """What a column holds, and the names of PostgreSQL's types that it may be of."""

    type: TypeEngine[Any]
    names: tuple[str, ...]


_TEXT = Kind(sa.Text(), ("text", "character varying"))
_NUMBER = Kind(sa.BigInteger(), ("integer", "smallint", "bigint"))
_RUN = Kind(sa.Integer(), ("integer", "smallint"))
_RATE = Kind(sa.REAL(), ("real", "double precision"))
_FLAG = Kind(sa.Boolean(), ("boolean",))
_TIME = Kind(sa.TIMESTAMP(timezone=True), ("timestamp with time zone",))

_OF_DOCUMENT = {"id": _TEXT, "run": _RUN, "rev": _NUMBER, "hostname": _TEXT, "timestamp": _TIME}
# What is read of each table, by column.
COLUMNS: Mapping[str, Mapping[str, Kind]] = {
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
class EarlierTables:
    """The tables that something is taken over of."""

    runs: sa.TableClause
    graphs: sa.TableClause
    hostnames: sa.TableClause
    hoststatuses: sa.TableClause


def _tables(prefix: str) -> EarlierTables:
    return EarlierTables(
        **{
            table: sa.table(prefix + table, *(sa.column(name, kind.type) for name, kind in columns.items()))
            for table, columns in COLUMNS.items()
        }
    )


AS_FOUND = _tables("")
SET_APART = _tables(PREFIX)


def host(table: sa.TableClause) -> sa.ColumnElement[str | None]:
    """The short name of a document's machine: that of its column, or else the one within its id."""
    return short_host(
        sa.func.coalesce(
            sa.func.nullif(sa.func.btrim(table.c.hostname), ""), sa.func.substring(table.c.id, _HOST_IN_ID)
        )
    )


def short_host(name: sa.ColumnElement[str]) -> sa.ColumnElement[str | None]:
    """A host's name without its domain, in lower case (`dqm2/pseudonyms.py`); null if it is none."""
    short = sa.func.lower(sa.func.split_part(sa.func.btrim(name), ".", 1))
    return sa.case(
        (sa.and_(short.regexp_match(_SHORT_HOST), sa.func.length(short) <= _LONGEST), short), else_=None
    )


def at_s(time: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
    """A time in unix seconds."""
    return sa.cast(sa.extract("epoch", time), sa.Double)


def is_known(time: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether a time is more than a word for none."""
    return sa.and_(time >= KNOWN_FROM, time <= KNOWN_TO)


def reveal(connection: sa.Connection) -> None:
    """Lets the tables that are set apart be read, to the end of the transaction."""
    connection.execute(sa.select(sa.func.set_config(_ADOPTING, "on", sa.true())))


def has_states(connection: sa.Connection, tables: EarlierTables) -> bool:
    """Whether the earlier mirror kept the states of machines; the first ones did not."""
    found = sa.inspect(connection)
    return found.has_table(tables.hostnames.name) and found.has_table(tables.hoststatuses.name)


def hold_still(connection: sa.Connection) -> None:
    """Lets nobody write the tables as found, to the end of the transaction; who reads them goes on."""
    connection.execute(sa.text("LOCK TABLE runs, graphs IN SHARE MODE"))


def set_apart(connection: sa.Connection) -> None:
    """Renames the tables as found, and keeps them from being read."""
    # Made before the tables are anyone's alone.
    connection.execute(sa.text(f"CREATE INDEX {_RUN_INDEX} ON runs (run)"))
    for name in present(connection, TABLES):
        _rename(connection, name, PREFIX + name)
        for statement in (
            "ALTER TABLE {} ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE {} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY {_POLICY} ON {{}} USING (current_setting('{_ADOPTING}', true) = 'on')",
        ):
            connection.execute(sa.text(statement.format(PREFIX + name)))


def put_back(connection: sa.Connection) -> None:
    """Undoes `set_apart`."""
    for name in present(connection, [PREFIX + name for name in TABLES]):
        for statement in (
            f"DROP POLICY {_POLICY} ON {{}}",
            "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY",
            "ALTER TABLE {} DISABLE ROW LEVEL SECURITY",
        ):
            connection.execute(sa.text(statement.format(name)))
        _rename(connection, name, name.removeprefix(PREFIX))
    connection.execute(sa.text(f"DROP INDEX {_RUN_INDEX}"))


def drop(connection: sa.Connection) -> None:
    """Drops the tables that are set apart."""
    # In one statement, for one of them refers to another. It is no matter if some are gone already.
    connection.execute(sa.text(f"DROP TABLE IF EXISTS {', '.join(PREFIX + name for name in TABLES)}"))


def present(connection: sa.Connection, names: Sequence[str]) -> list[str]:
    """Which of these tables there are."""
    found = sa.inspect(connection)
    return [name for name in names if found.has_table(name)]


def _rename(connection: sa.Connection, old: str, new: str) -> None:
    """Renames a table and its indexes, whose names the schema needs too; constraints go with them."""
    quote = connection.dialect.identifier_preparer.quote
    indexes = sa.text(
        "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE indrelid = CAST(:name AS regclass) AND relname LIKE :named"
    )
    for index in connection.scalars(indexes, {"name": old, "named": f"{old}%"}).all():
        named = new + index.removeprefix(old)
        connection.execute(sa.text(f"ALTER INDEX {quote(index)} RENAME TO {quote(named)}"))
    connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))
