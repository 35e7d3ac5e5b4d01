"""Time after which PostgreSQL cancels a statement, for one that may take longer than others."""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2 import extensions

_USABLE = (extensions.TRANSACTION_STATUS_IDLE, extensions.TRANSACTION_STATUS_INTRANS)


@contextmanager
def longer_timeout(connection: extensions.connection, seconds: float) -> Iterator[None]:
    """Let PostgreSQL work on the statements of a connection for longer than usual."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = %s", (round(seconds * 1000),))
        try:
            yield
        finally:
            # The end of a transaction that failed resets it, too.
            if connection.get_transaction_status() in _USABLE:
                cursor.execute("RESET statement_timeout")
