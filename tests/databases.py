"""Databases of tests: copies of a template. Those that nothing was written to serve further tests."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from tools.demo.postgres import EmbeddedPostgres

# A closed connection counts its writes when its process ends, perhaps later. A crash resets all counts,
# and a test may make a database again under the same name.
_END_CONNECTIONS = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s"
_HISTORY = """
    SELECT pg_database.oid, tup_inserted + tup_updated + tup_deleted, pg_stat_wal.stats_reset
    FROM pg_database JOIN pg_stat_database ON datid = pg_database.oid, pg_stat_wal
    WHERE pg_database.datname = %s
"""

_History = tuple[object, ...] | None


class Databases:
    """Makes databases from the template `template`, and keeps those that are as they were made."""

    def __init__(self, postgres: EmbeddedPostgres, template: str) -> None:
        self._postgres = postgres
        self._template = template
        self._made = 0
        self._unchanged: list[tuple[str, _History]] = []

    @contextmanager
    def lend(self) -> Iterator[str]:
        """Name of a database that is as the template."""
        name, history = self._unchanged.pop() if self._unchanged else self._make()
        yield name
        if self._history(name) == history:
            self._unchanged.append((name, history))
        else:
            self._postgres.drop_database(name)

    def _make(self) -> tuple[str, _History]:
        self._made += 1
        name = f"of_tests_{self._made}"
        self._postgres.create_database(name, template=self._template)
        return name, self._history(name)

    def _history(self, name: str) -> _History:
        """Identity of a database and number of rows ever written to it, once no connection is left."""
        with closing(self._postgres.connect("template1")) as connection, connection.cursor() as cursor:
            cursor.execute(_END_CONNECTIONS, (name,))
            cursor.execute(_HISTORY, (name,))
            history: _History = cursor.fetchone()
        return history
