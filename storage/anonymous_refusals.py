"""Rejected requests without a session, in the audit log: bounded, since anybody can send them.

Equal requests of an address within a minute share an entry, which counts them. In each minute the first
addresses get entries of their own, and of each address the first kinds of requests; all others share one
entry for each kind. A failed login of an existing user always gets an entry of its own. Of all these entries
the newest are kept, those that name a user and the others separately, so that neither displaces the other.
"""

import hashlib
import time
from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

import db
from storage.audit_log import AuditedAction, Outcome, ended_values

_log = db.audit_log
_GROUPED_WITHIN = timedelta(minutes=1)
_MAX_ADDRESSES_PER_MINUTE = 20
_MAX_KINDS_PER_ADDRESS = 10
_MAX_ENTRIES = 10_000


class AnonymousRefusals:
    """Entries of rejected requests without a session."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def record(self, action: AuditedAction, address_hash: bytes, message: str) -> None:
        """Record a rejected request; `address_hash` is a keyed hash of the client's address."""
        minute = int(time.time() // _GROUPED_WITHIN.total_seconds())
        group = (minute, action.command, action.username, action.cmsweb_login, message, address_hash.hex())
        group_key = _hash(*group)
        with self._database.begin() as connection:
            if _increment(connection, group_key):
                return
            if action.username is not None or _may_add_entry(connection, address_hash):
                _insert_group(connection, action, address_hash, message, group_key)
            else:
                shared = replace(action, cmsweb_login=None)
                _insert_group(connection, shared, None, message, _hash(minute, action.command, message))
            _delete_oldest_groups(connection, has_username=action.username is not None)


_INCREMENT = {"occurrences": _log.c.occurrences + 1, "ended_at": sa.func.clock_timestamp()}


def _hash(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def _increment(connection: sa.Connection, group_key: bytes) -> bool:
    """Count one more request of a group; whether the group exists."""
    group = sa.update(_log).where(_log.c.group_key == group_key)
    return connection.execute(group.values(**_INCREMENT)).rowcount > 0


def _may_add_entry(connection: sa.Connection, address_hash: bytes) -> bool:
    """Whether an address may add an entry of its own this minute."""
    recent = sa.select(_log.c.address_hash, sa.func.count().label("entries")).where(
        _log.c.received_at > sa.func.now() - _GROUPED_WITHIN,
        _log.c.address_hash.is_not(None),
        _log.c.username.is_(None),
    )
    rows = connection.execute(recent.group_by(_log.c.address_hash))
    entries: dict[bytes, int] = {bytes(row.address_hash): row.entries for row in rows}
    if address_hash in entries:
        return entries[address_hash] < _MAX_KINDS_PER_ADDRESS
    return len(entries) < _MAX_ADDRESSES_PER_MINUTE


def _insert_group(
    connection: sa.Connection, action: AuditedAction, address_hash: bytes | None, message: str, key: bytes
) -> None:
    values = ended_values(action, Outcome.REFUSED, message)
    insert = postgresql.insert(_log).values(**values, address_hash=address_hash, group_key=key)
    connection.execute(insert.on_conflict_do_update(index_elements=[_log.c.group_key], set_=_INCREMENT))


def _delete_oldest_groups(connection: sa.Connection, *, has_username: bool) -> None:
    is_group = sa.and_(_log.c.group_key.is_not(None), _log.c.username.is_not(None) == has_username)
    newest = sa.select(_log.c.id).where(is_group).order_by(_log.c.id.desc())
    last_kept = newest.offset(_MAX_ENTRIES - 1).limit(1).scalar_subquery()
    connection.execute(sa.delete(_log).where(is_group, _log.c.id < last_kept))
