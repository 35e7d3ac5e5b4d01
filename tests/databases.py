"""Databases of tests: copies of a template. Those that nothing was written to serve further tests."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import psycopg2
import sqlalchemy as sa
from psycopg2 import sql

import db
from dqmsquare_cfg import Cluster, Settings
from tests.waiting import until
from tools.demo.postgres import COPY_DATABASE, DROP_DATABASE, EmbeddedPostgres

# A closed connection counts its writes when its process ends, perhaps later. A crash resets all counts,
# and a test may make a database again under the same name.
_END_CONNECTIONS = "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY(%s)"
_ARE_ENDED = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY(%s))"
_HISTORIES = """
    SELECT datname, datid, tup_inserted + tup_updated + tup_deleted, pg_stat_wal.stats_reset
    FROM pg_stat_database, pg_stat_wal
    WHERE datname = ANY(%s)
"""
# A database is not copied while it has a connection; this one is no template.
_MAINTENANCE = "postgres"

# By port and name of the database; the newest are kept.
_ENGINES: dict[tuple[int, str], sa.Engine] = {}
_MAX_ENGINES = 4

_History = list[object]


def kept_engine(settings: Settings, cluster: Cluster) -> sa.Engine:
    """Engine that stays for further looks at a database: tests look until they find what they wait for."""
    key = settings.postgres_port, settings.database(cluster)
    if key not in _ENGINES:
        if len(_ENGINES) == _MAX_ENGINES:
            _ENGINES.pop(next(iter(_ENGINES))).dispose()
        _ENGINES[key] = db.engine(settings, cluster, "tests")
    return _ENGINES[key]


class Databases:
    """Makes databases from the template `template`, and keeps those that are as they were made."""

    def __init__(self, postgres: EmbeddedPostgres, template: str) -> None:
        self._postgres = postgres
        self._template = template
        self._made = 0
        self._unchanged: dict[str, _History] = {}
        self._connection = postgres.connect(_MAINTENANCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @contextmanager
    def lend(self, number: int) -> Iterator[Sequence[str]]:
        """Names of databases that are as the template."""
        while len(self._unchanged) < number:
            self._make()
        lent = dict(self._unchanged.popitem() for _ in range(number))
        yield list(lent)
        self._end_connections(lent)
        found = self._histories(lent)
        for name, history in lent.items():
            if found.get(name) == history:
                self._unchanged[name] = history
            else:
                self._execute(DROP_DATABASE.format(sql.Identifier(name)))

    def _make(self) -> None:
        self._made += 1
        name = f"of_tests_{self._made}"
        self._execute(COPY_DATABASE.format(sql.Identifier(name), sql.Identifier(self._template)))
        self._unchanged |= self._histories([name])

    def _end_connections(self, names: Iterable[str]) -> None:
        """End those that there are; a thread of a test may connect again, and writes nothing."""
        pids = [pid for pid, _ in self._execute(_END_CONNECTIONS, (list(names),))]
        if pids:
            until(lambda: self._execute(_ARE_ENDED, (pids,)) == [(True,)])

    def _histories(self, names: Iterable[str]) -> dict[str, _History]:
        """Identity of databases and number of rows ever written to them; none of those that are gone."""
        return {str(name): history for name, *history in self._execute(_HISTORIES, (list(names),))}

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
