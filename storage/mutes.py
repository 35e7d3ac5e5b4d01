"""Mutes: an expert marks a client as known to be bad, and it raises no alarm on any page for a while.

A mute is stored in the database of the client's cluster. A client has at most one: a new one replaces it.
Muting and unmuting notify all pages at once, as a batch of documents does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

import db

_mutes = db.mutes
# A plain word, which invalidates everything: the client may be part of any run.
_NOTIFICATION = "mutes"


@dataclass(frozen=True, slots=True)
class Mute:
    """A mute of a client, which is named by its tag."""

    id: int
    client: str
    reason: str
    username: str
    muted_at: datetime
    ends_at: datetime


class MuteReader:
    """Reads the mutes of a cluster."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def mutes(self) -> list[Mute]:
        """The mutes in force, newest first."""
        in_force = sa.select(_mutes).where(_mutes.c.ends_at > sa.func.now())
        with self._database.connect() as connection:
            rows = connection.execute(in_force.order_by(_mutes.c.id.desc())).all()
        return [Mute(**row._asdict()) for row in rows]


class MuteWriter:
    """Mutes and unmutes clients of a cluster."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def mute(self, client: str, reason: str, username: str, duration: timedelta) -> None:
        """Mute a client from now on, in place of its present mute if it has one."""
        with self._notifying() as connection:
            # One at a time, so that each transaction sees the mute before.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(db.MUTE_LOCK)))
            connection.execute(_end(client))
            connection.execute(
                sa.insert(_mutes).values(
                    client=client, reason=reason, username=username, ends_at=sa.func.now() + duration
                )
            )

    def unmute(self, client: str) -> None:
        """End a client's mute, if it has one."""
        with self._notifying() as connection:
            connection.execute(_end(client))

    @contextmanager
    def _notifying(self) -> Iterator[sa.Connection]:
        with self._database.begin() as connection:
            yield connection
            connection.execute(sa.select(sa.func.pg_notify(db.CHANNEL, _NOTIFICATION)))


def _end(client: str) -> sa.Update:
    in_force = (_mutes.c.client == client, _mutes.c.ends_at > sa.func.now())
    return sa.update(_mutes).where(*in_force).values(ends_at=sa.func.now())
