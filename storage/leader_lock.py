"""Leader election of a cluster's grabbers: one at a time mirrors the cluster.

The lock is a PostgreSQL advisory lock on a connection of its own. It ends with that connection, so that a
grabber that dies or loses its database is replaced at once. A grabber that was merely suspended may still
believe that it is the leader. Therefore the leader also writes its id into the heartbeat row, and every write
checks that id first (`MirrorWriter`).
"""

from contextlib import suppress
from uuid import UUID, uuid4

import sqlalchemy as sa

import db


class LeadershipLost(Exception):
    """Raised when another grabber has become the leader, or the connection that holds the lock is lost."""


class LeaderLock:
    """The leader lock of a cluster's database; `leader_id` identifies this holder in the heartbeat."""

    def __init__(self, database: sa.Engine) -> None:
        self.leader_id: UUID = uuid4()
        self._database = database
        self._connection: sa.Connection | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free; whether this object holds it now."""
        if self._connection is not None:
            return True
        connection = self._database.connect().execution_options(isolation_level="AUTOCOMMIT")
        if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(db.GRABBER_LOCK))):
            connection.close()
            return False
        self._connection = connection
        return True

    def ensure_held(self) -> None:
        """Raise LeadershipLost unless the connection that holds the lock is alive."""
        if self._connection is None:
            raise LeadershipLost
        try:
            self._connection.execute(sa.select(1))
        except sa.exc.DBAPIError as error:
            self.close()
            raise LeadershipLost from error

    def release(self) -> None:
        """Release the lock at once; PostgreSQL notices a closed connection only a moment later."""
        if self._connection is not None:
            # A lost connection has released the lock already.
            with suppress(sa.exc.DBAPIError):
                self._connection.execute(sa.select(sa.func.pg_advisory_unlock(db.GRABBER_LOCK)))

    def close(self) -> None:
        """Close the connection, which releases the lock; it never returns to the pool."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
