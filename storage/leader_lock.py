"""Who mirrors a cluster: one grabber at a time.

The claim is an advisory lock of PostgreSQL on a connection of its own. It ends with that connection, so that
a grabber that dies, or loses its database, gives way at once. One that only slept may still believe that it
holds the cluster: therefore whoever takes the claim also writes itself into the heartbeat as its holder, and
every write asks for that first (`MirrorWriter`).
"""

from contextlib import suppress
from uuid import UUID, uuid4

import sqlalchemy as sa

import db


class LeadershipLost(Exception):
    """Another grabber holds the cluster, or the database that the claim was made in is gone."""


class LeaderLock:
    """A grabber's claim on the cluster of a database; `holder` is what it signs its writes with."""

    def __init__(self, database: sa.Engine) -> None:
        self.leader_id: UUID = uuid4()
        self._database = database
        self._connection: sa.Connection | None = None

    def acquire(self) -> bool:
        """Takes the cluster if no other grabber has it; whether it is taken now."""
        if self._connection is not None:
            return True
        connection = self._database.connect().execution_options(isolation_level="AUTOCOMMIT")
        if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(db.GRABBER_LOCK))):
            connection.close()
            return False
        self._connection = connection
        return True

    def ensure_held(self) -> None:
        """Raises ClaimLost unless the connection that the lock hangs on still lives."""
        if self._connection is None:
            raise LeadershipLost
        try:
            self._connection.execute(sa.select(1))
        except sa.exc.DBAPIError as error:
            self.close()
            raise LeadershipLost from error

    def release(self) -> None:
        """Gives the cluster back at once, where PostgreSQL notices a closed connection a moment late."""
        if self._connection is not None:
            # A connection that is lost took the lock with it.
            with suppress(sa.exc.DBAPIError):
                self._connection.execute(sa.select(sa.func.pg_advisory_unlock(db.GRABBER_LOCK)))

    def close(self) -> None:
        """Gives the cluster back; the connection is closed, never reused, since the lock is its own."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
