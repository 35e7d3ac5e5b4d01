"""Databases of tests: copies of a template. Those that nothing was written to serve further tests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import psycopg2
from psycopg2 import sql

from tests.waiting import until
from tools.demo.postgres import COPY_DATABASE, DROP_DATABASE, EmbeddedPostgres

# A closed connection counts its writes when its process ends, perhaps later. A crash resets all counts,
# and a test may make a database again under the same name.
_END_CONNECTIONS = "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
_ARE_ENDED = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY(%s))"
_HISTORY = """
    SELECT pg_database.oid, tup_inserted + tup_updated + tup_deleted, pg_stat_wal.stats_reset
    FROM pg_database JOIN pg_stat_database ON datid = pg_database.oid, pg_stat_wal
    WHERE pg_database.datname = %s
"""
# A database is not copied while it has a connection; this one is no template.
_MAINTENANCE = "postgres"

_History = tuple[object, ...] | None


class Databases:
    """Makes databases from the template `template`, and keeps those that are as they were made."""

    def __init__(self, postgres: EmbeddedPostgres, template: str) -> None:
        self._postgres = postgres
        self._template = template
        self._made = 0
        self._unchanged: list[tuple[str, _History]] = []
        self._connection = postgres.connect(_MAINTENANCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @contextmanager
    def lend(self) -> Iterator[str]:
        """Name of a database that is as the template."""
        name, history = self._unchanged.pop() if self._unchanged else self._make()
        yield name
        self._end_connections(name)
        if self._history(name) == history:
            self._unchanged.append((name, history))
        else:
            self._execute(DROP_DATABASE.format(sql.Identifier(name)))

    def _make(self) -> tuple[str, _History]:
        self._made += 1
        name = f"of_tests_{self._made}"
        self._execute(COPY_DATABASE.format(sql.Identifier(name), sql.Identifier(self._template)))
        return name, self._history(name)

    def _end_connections(self, name: str) -> None:
        """End those that there are; a thread of a test may connect again, and writes nothing."""
        pids = [pid for pid, _ in self._execute(_END_CONNECTIONS, (name,))]
        until(lambda: self._execute(_ARE_ENDED, (pids,)) == [(True,)])

    def _history(self, name: str) -> _History:
        """Identity of a database and number of rows ever written to it."""
        rows = self._execute(_HISTORY, (name,))
        return rows[0] if rows else None

    def _execute(
        self, statement: str | sql.Composable, parameters: Sequence[object] = ()
    ) -> list[tuple[object, ...]]:
        """Execute a statement and return its rows; a test may have ended the connection with PostgreSQL."""
        try:
            return self._rows_of(statement, parameters)
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self._connection.close()
            self._connection = self._postgres.connect(_MAINTENANCE)
            return self._rows_of(statement, parameters)

    def _rows_of(
        self, statement: str | sql.Composable, parameters: Sequence[object]
    ) -> list[tuple[object, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
