"""Receivers of notifications in the database: what each was sent, and what it is still to be sent."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db
from storage import transitions
from storage.database_reader import DatabaseReader

_receivers = db.notification_receivers


@dataclass(frozen=True, slots=True)
class ReceiverStatus:
    """Status of a receiver: `scheme` is that of its URL; `reason` of a failure has no part of the URL.

    `sent` and `dropped` count messages and things. `failing_since` is `None` unless the last attempt failed.
    """

    name: str
    scheme: str
    pending: int
    sent: int
    dropped: int
    dropped_at: datetime | None
    last_success_at: datetime | None
    failing_since: datetime | None
    failures: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class StoredReceiver:
    """State of a receiver that a notifier continues from.

    `last_queued` is the id of the last transition that is in its queue, `things` the stored queue.
    """

    last_queued: int
    things: Mapping[str, Any]
    sent: int
    dropped: int
    failures: int
    failing_since: datetime | None


class ReceiverReader(DatabaseReader):
    """Reads the receivers of a cluster's notifications."""

    def notification_receivers(self) -> list[ReceiverStatus]:
        """The receivers, by name."""
        with self._database.connect() as connection:
            rows = connection.execute(sa.select(_receivers).order_by(_receivers.c.name)).all()
        return [_status(row) for row in rows]


def acquire_lock(connection: sa.Connection) -> bool:
    """Take the notifier's lock if it is free; it lasts as long as the connection."""
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(db.NOTIFIER_LOCK))))


def register(connection: sa.Connection, schemes: Mapping[str, str]) -> dict[str, StoredReceiver]:
    """Replace the stored receivers by those of `schemes`, by name; returns the state of each by name.

    A receiver that is stored already keeps its state. A new one begins with the next transition.
    """
    gone = sa.delete(_receivers).where(_receivers.c.name.not_in(list(schemes)))
    connection.execute(gone)
    if not schemes:
        return {}
    cursor = transitions.newest_id(connection)
    rows = [{"name": name, "scheme": scheme, "cursor": cursor} for name, scheme in schemes.items()]
    statement = insert(_receivers)
    changed = {"scheme": statement.excluded.scheme}
    connection.execute(
        statement.on_conflict_do_update(index_elements=[_receivers.c.name], set_=changed), rows
    )
    columns = (_receivers.c[field.name] for field in fields(StoredReceiver)[1:])
    stored = connection.execute(sa.select(_receivers.c.name, _receivers.c.cursor, *columns))
    return {name: StoredReceiver(*values) for name, *values in stored}


def save(connection: sa.Connection, name: str, values: Mapping[str, Any]) -> None:
    """Save values of a receiver, by column."""
    connection.execute(sa.update(_receivers).where(_receivers.c.name == name).values(**values))


def _status(row: Any) -> ReceiverStatus:
    return ReceiverStatus(
        name=row.name,
        scheme=row.scheme,
        pending=sum(bool(thing.get("pending")) for thing in row.things.values()),
        sent=row.sent,
        dropped=row.dropped,
        dropped_at=row.dropped_at,
        last_success_at=row.last_success_at,
        failing_since=row.failing_since,
        failures=row.failures,
        reason=row.reason,
    )
