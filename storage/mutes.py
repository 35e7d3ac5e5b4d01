"""Mutes: an expert knows that a client is bad, so that for a while it raises no alarm on anybody's page.

They stand in the database of the client's cluster. A client has one at a time: a new one takes the place of
the one before. What mutes and what ends one tells all pages at once, as a batch does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

import db

_mutes = db.mutes
# Anything may have changed: a mute is of a client, and of whichever runs it is in.
_TOLD = "mutes"


@dataclass(frozen=True, slots=True)
class Mute:
    """A client (its tag) that is muted: by whom, why, since when and until when."""

    id: int
    client: str
    reason: str
    username: str
    muted_at: datetime
    ends_at: datetime


class MuteReader:
    """Reads which clients of a cluster are muted."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def mutes(self) -> list[Mute]:
        """The mutes that have not ended, the newest first."""
        goes_on = sa.select(_mutes).where(_mutes.c.ends_at > sa.func.now())
        with self._database.connect() as connection:
            rows = connection.execute(goes_on.order_by(_mutes.c.id.desc())).all()
        return [Mute(**row._asdict()) for row in rows]


class MuteWriter:
    """Mutes clients of a cluster, and ends that early."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def mute(self, client: str, reason: str, username: str, lasts: timedelta) -> None:
        """Mutes a client from now on; a mute that it has ends."""
        with self._told() as connection:
            # One expert after the other, so that each sees the mute of the one before.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(db.MUTE_LOCK)))
            connection.execute(_end(client))
            connection.execute(
                sa.insert(_mutes).values(
                    client=client, reason=reason, username=username, ends_at=sa.func.now() + lasts
                )
            )

    def unmute(self, client: str) -> None:
        """Ends a client's mute early, if it has one."""
        with self._told() as connection:
            connection.execute(_end(client))

    @contextmanager
    def _told(self) -> Iterator[sa.Connection]:
        with self._database.begin() as connection:
            yield connection
            connection.execute(sa.select(sa.func.pg_notify(db.CHANNEL, _TOLD)))


def _end(client: str) -> sa.Update:
    goes_on = (_mutes.c.client == client, _mutes.c.ends_at > sa.func.now())
    return sa.update(_mutes).where(*goes_on).values(ends_at=sa.func.now())
