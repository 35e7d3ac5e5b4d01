"""Queue of control commands, shared by all users, workers and replicas: the gateway executes one at a time.

The command that may run holds an advisory lock of the playback cluster's database. Each server process queues
its own commands in memory, and has one connection while that queue is not empty. The first command in the
queue requests the lock on it: PostgreSQL's order decides among the processes. It releases the lock when it is
done, so that the processes take turns. The connection also holds a lock for the process itself. The audit log
learns from it which open entries belong to a running process.
"""

import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from psycopg2.errors import LockNotAvailable

import db

# PostgreSQL 14 and newer can notice that a waiting client is gone, and then stop waiting.
_CONNECTION_CHECK_INTERVAL = "5s"
# A database that does not report the end of a wait for so long hangs (`web/databases.py`).
_OVERDUE_S = 2.0
_MAX_WORKER_ID = 2**31
_APPLICATION_NAME = "dqmsquare-mirror command-queue"


class QueueTimeout(Exception):
    """Raised when a command waited too long; nothing was sent."""


class QueueUnavailable(Exception):
    """Raised when the database that holds the queue is unavailable; nothing was sent."""


@dataclass(frozen=True, eq=False, slots=True)
class Ticket:
    """A place in the queue; `worker_id` identifies this process in the audit log."""

    worker_id: int


class CommandQueue:
    """This process's part of the queue. Takes at most one connection of `database`."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        self._changed = threading.Condition()
        self._tickets: deque[Ticket] = deque()
        self._connection: sa.Connection | None = None
        self._worker_id = 0

    @contextmanager
    def join(self) -> Iterator[Ticket]:
        """Join the end of the queue. Raises QueueUnavailable."""
        with self._changed:
            self._connect()
            ticket = Ticket(self._worker_id)
            self._tickets.append(ticket)
        try:
            yield ticket
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                if not self._tickets:
                    self._close()
                self._changed.notify_all()

    @contextmanager
    def hold(self, ticket: Ticket, timeout_s: float) -> Iterator[None]:
        """Wait until the ticket is first among all processes, and keep the others waiting.

        Raises QueueTimeout or QueueUnavailable.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            if not self._changed.wait_for(lambda: self._tickets[0] is ticket, timeout_s):
                raise QueueTimeout
            connection = self._connection
        # With a lost connection, this process lost its id, and the entry in the audit log was abandoned.
        if connection is None or ticket.worker_id != self._worker_id:
            raise QueueUnavailable
        self._lock(connection, deadline_s - time.monotonic())
        try:
            yield
        finally:
            self._unlock(connection)

    def _connect(self) -> None:
        """Open the connection if there is none, under a new id of this process."""
        if self._connection is not None:
            return
        worker_id = secrets.randbelow(_MAX_WORKER_ID)
        try:
            self._connection = self._database.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connection.execute(_set("application_name", _APPLICATION_NAME))
            self._connection.execute(_check_connection_while_waiting())
            self._connection.execute(sa.select(sa.func.pg_advisory_lock(db.WORKER_LOCKS, worker_id)))
        except sa.exc.SQLAlchemyError as error:
            self._close()
            raise QueueUnavailable from error
        self._worker_id = worker_id

    def _lock(self, connection: sa.Connection, timeout_s: float) -> None:
        milliseconds = max(1, round(timeout_s * 1000))
        lock = sa.select(sa.func.pg_advisory_lock(db.COMMAND_LOCK))
        try:
            connection.execute(_set("lock_timeout", str(milliseconds)))
            connection.execute(lock.execution_options(response_timeout_s=timeout_s + _OVERDUE_S))
        except sa.exc.DBAPIError as error:
            if isinstance(error.orig, LockNotAvailable):
                raise QueueTimeout from error
            self._discard(connection)
            raise QueueUnavailable from error

    def _unlock(self, connection: sa.Connection) -> None:
        try:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(db.COMMAND_LOCK)))
        except sa.exc.DBAPIError:
            # The connection is lost, and the lock with it.
            self._discard(connection)

    def _discard(self, connection: sa.Connection) -> None:
        with self._changed:
            if self._connection is connection:
                self._close()

    def _close(self) -> None:
        # Closed rather than returned to the pool, since it holds locks.
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _set(name: str, value: str) -> sa.Select[tuple[str]]:
    return sa.select(sa.func.set_config(name, value, False))  # noqa: FBT003 - an argument of SQL


def _check_connection_while_waiting() -> sa.Select[tuple[str]]:
    settings = sa.table("pg_settings", sa.column("name"))
    name = "client_connection_check_interval"
    return _set(name, _CONNECTION_CHECK_INTERVAL).where(sa.exists().where(settings.c.name == name))
