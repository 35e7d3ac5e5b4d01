"""The one line of control commands, of all users, workers and replicas: the gateway does one at a time.

Whoever's turn it is holds an advisory lock of the playback cluster's database. A server process has one
connection for its own line, and only while somebody stands in it: its first asks for the lock there, in
PostgreSQL's own order among the processes, and gives it back after each command, so that all have their
turns. The connection also holds a lock that stands for the process itself: the audit knows by it which of
its open entries are still in somebody's hands.
"""

import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from psycopg2.errors import QueryCanceled

import db

# A process of which the client is gone is to stop waiting for its turn; PostgreSQL 14 and newer know how.
_NOTICED_WITHIN = "5s"
# So long after a wait should have ended, a database that has not said so hangs (`web/databases.py`).
_OVERDUE_S = 2.0
_HIGHEST_DESK = 2**31


class QueueTimeout(Exception):
    """The turn did not come in time; nothing was sent."""


class QueueUnavailable(Exception):
    """The database that the line is kept in is not to be had; nothing was sent."""


class Place:
    """A place in the line, taken; `desk` stands for this process in the audit."""

    def __init__(self, line: "CommandQueue", desk: int) -> None:
        self._line = line
        self.desk = desk

    @contextmanager
    def turn(self, most_wait_s: float) -> Iterator[None]:
        """Waits for the turn and keeps it. Raises WaitedTooLong or LineLost, and then nothing was done."""
        with self._line.turn_of(self, most_wait_s):
            yield


class CommandQueue:
    """This process's part of the line. It uses a connection of `database` of its own."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        self._moved = threading.Condition()
        self._places: deque[Place] = deque()
        self._connection: sa.Connection | None = None
        self._desk = 0

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place at the end of the line. Raises LineLost."""
        with self._moved:
            self._open()
            place = Place(self, self._desk)
            self._places.append(place)
        try:
            yield place
        finally:
            with self._moved:
                self._places.remove(place)
                if not self._places:
                    self._close()
                self._moved.notify_all()

    @contextmanager
    def turn_of(self, place: Place, most_wait_s: float) -> Iterator[None]:
        """The turn of a place: first in this process, then among all of them."""
        ends_at = time.monotonic() + most_wait_s
        with self._moved:
            if not self._moved.wait_for(lambda: self._places[0] is place, most_wait_s):
                raise QueueTimeout
            connection = self._connection
        # A connection that was lost took this place's entry in the audit with it.
        if connection is None or place.desk != self._desk:
            raise QueueUnavailable
        self._lock(connection, ends_at - time.monotonic())
        try:
            yield
        finally:
            self._unlock(connection)

    def _open(self) -> None:
        """Opens the connection where there is none, under a new number for this process."""
        if self._connection is not None:
            return
        desk = secrets.randbelow(_HIGHEST_DESK)
        try:
            self._connection = self._database.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connection.execute(_set("application_name", "dqmsquare-mirror command-queue"))
            self._connection.execute(_notice_loss())
            self._connection.execute(sa.select(sa.func.pg_advisory_lock(db.WORKER_LOCKS, desk)))
        except sa.exc.SQLAlchemyError as error:
            self._close()
            raise QueueUnavailable from error
        self._desk = desk

    def _lock(self, connection: sa.Connection, within_s: float) -> None:
        milliseconds = max(1, round(within_s * 1000))
        turn = sa.select(sa.func.pg_advisory_lock(db.COMMAND_LOCK))
        try:
            connection.execute(_set("statement_timeout", str(milliseconds)))
            connection.execute(turn.execution_options(response_timeout_s=within_s + _OVERDUE_S))
        except sa.exc.DBAPIError as error:
            if isinstance(error.orig, QueryCanceled):
                raise QueueTimeout from error
            self._drop(connection)
            raise QueueUnavailable from error

    def _unlock(self, connection: sa.Connection) -> None:
        try:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(db.COMMAND_LOCK)))
        except sa.exc.DBAPIError:
            # The connection is gone, and the lock with it.
            self._drop(connection)

    def _drop(self, connection: sa.Connection) -> None:
        with self._moved:
            if self._connection is connection:
                self._close()

    def _close(self) -> None:
        # Closed, never reused: its locks are its own.
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _set(name: str, value: str) -> sa.Select[tuple[str]]:
    return sa.select(sa.func.set_config(name, value, False))  # noqa: FBT003 - SQL's argument


def _notice_loss() -> sa.Select[tuple[str]]:
    settings = sa.table("pg_settings", sa.column("name"))
    name = "client_connection_check_interval"
    return _set(name, _NOTICED_WITHIN).where(sa.exists().where(settings.c.name == name))
