"""Mutes: an expert marks a client as known to be bad, and it raises no alert on any page for a while.

A mute is of a client, or of one group of its crashes only, so that another crash of it still raises an alert.
It is stored in the database of the client's cluster. A client and a group have at most one each: a new one
replaces it. If the rules of signatures change, crashes have other groups, so the mutes of groups end.
Muting and unmuting notify all pages at once, as a batch of documents does.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

import db
from storage.database_reader import DatabaseReader
from storage.prepared_statements import prepared
from storage.read_models import Job

_mutes = db.mutes
# A plain word, which invalidates everything: the client may be part of any run.
_NOTIFICATION = "mutes"


@dataclass(frozen=True, slots=True)
class MuteSubject:
    """A client, which is named by its tag, or one group of its crashes, which is named by its signature."""

    client: str
    crash_group: str | None = None

    def __str__(self) -> str:
        # No tag contains a slash.
        return self.client if self.crash_group is None else f"{self.client}/{self.crash_group}"

    def covers(self, client: str, crash_group: str | None) -> bool:
        """Whether a problem of a client is muted; `crash_group` is that of its crash, if it is one."""
        return self.client == client and self.crash_group in (None, crash_group)


@dataclass(frozen=True, slots=True)
class Mute:
    """A mute; `crash_title` is the title of the group if it is of a group of crashes."""

    id: int
    subject: MuteSubject
    crash_title: str | None
    reason: str
    username: str
    muted_at: datetime
    ends_at: datetime


def mute_of_client(client: str, mutes: Iterable[Mute]) -> Mute | None:
    """The mute of a client as a whole."""
    return next((mute for mute in mutes if mute.subject == MuteSubject(client)), None)


def mute_of_job(job: Job, mutes: Iterable[Mute]) -> Mute | None:
    """The mute that covers a job: that of its client, else that of its crash."""
    covering = [mute for mute in mutes if mute.subject.covers(job.client, job.crash_group)]
    return mute_of_client(job.client, covering) or next(iter(covering), None)


class MuteReader(DatabaseReader):
    """Reads the mutes of a cluster."""

    def in_force(self) -> list[Mute]:
        """The mutes in force, newest first."""
        with self._database.connect() as connection:
            return read_mutes(connection)

    def between(self, since: datetime, until: datetime, limit: int) -> list[Mute]:
        """The mutes that were set, or ended, in a period, in the order in which they were set."""
        statement = (
            _select()
            .where(
                _mutes.c.ends_at >= since,
                _mutes.c.muted_at < until,
                sa.or_(_mutes.c.muted_at >= since, _mutes.c.ends_at < until),
            )
            .order_by(_mutes.c.ends_at)
            .limit(limit)
        )
        with self._database.connect() as connection:
            return sorted(map(_mute, connection.execute(statement)), key=lambda mute: mute.id)


def read_mutes(connection: sa.Connection) -> list[Mute]:
    """The mutes in force, newest first."""
    return [_mute(row) for row in connection.execute(_select_in_force())]


class MuteWriter:
    """Mutes and unmutes clients of a cluster, and groups of their crashes."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def mute(self, subject: MuteSubject, reason: str, username: str, duration: timedelta) -> None:
        """Mute a subject from now on, in place of its present mute if it has one."""
        with self._notifying() as connection:
            # One at a time, so that each transaction sees the mute before.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(db.MUTE_LOCK)))
            connection.execute(_end(subject))
            connection.execute(
                sa.insert(_mutes).values(
                    client=subject.client,
                    crash_group=subject.crash_group,
                    reason=reason,
                    username=username,
                    ends_at=sa.func.now() + duration,
                )
            )

    def unmute(self, subject: MuteSubject) -> None:
        """End the mute of a subject, if it has one; other mutes of the client remain."""
        with self._notifying() as connection:
            connection.execute(_end(subject))

    @contextmanager
    def _notifying(self) -> Iterator[sa.Connection]:
        with self._database.begin() as connection:
            yield connection
            connection.execute(sa.select(sa.func.pg_notify(db.CHANNEL, _NOTIFICATION)))


@cache
def _select_in_force() -> sa.Select[Any]:
    """Select the mutes in force, newest first; every page does."""
    return prepared(_select().where(_mutes.c.ends_at > sa.func.now()).order_by(_mutes.c.id.desc()))


def _select() -> sa.Select[Any]:
    """Select mutes with the titles of their groups."""
    groups = db.crash_groups
    return sa.select(_mutes, groups.c.title.label("crash_title")).join_from(
        _mutes, groups, groups.c.signature == _mutes.c.crash_group, isouter=True
    )


def _mute(row: sa.Row[Any]) -> Mute:
    return Mute(
        row.id,
        MuteSubject(row.client, row.crash_group),
        row.crash_title,
        row.reason,
        row.username,
        row.muted_at,
        row.ends_at,
    )


def _end(subject: MuteSubject) -> sa.Update:
    in_force = (
        _mutes.c.client == subject.client,
        _mutes.c.crash_group.is_not_distinct_from(subject.crash_group),
        _mutes.c.ends_at > sa.func.now(),
    )
    return sa.update(_mutes).where(*in_force).values(ends_at=sa.func.now())
