"""What somebody without a session is refused: in the audit like all else, and bounded, whoever knocks.

The same refusal of the same address within a minute is one entry, which says how many times. Where many
addresses knock, the first of a minute have entries of their own, and all others share one for each refusal.
Of all these entries the newest are kept.
"""

import hashlib
import time
from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

import db
from storage.audit_log import AuditedAction, Outcome, finished_values

_MINUTE = timedelta(minutes=1)
_MOST_A_MINUTE = 20
_MOST_KEPT = 10_000

_audit = db.audit_log


class AnonymousRefusals:
    """The part of the audit that is written by who has no session."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def record(self, deed: AuditedAction, address: bytes, sentence: str) -> None:
        """Writes a refusal down; `address` is a keyed hash of where it came from."""
        minute = int(time.time() // _MINUTE.total_seconds())
        own = _key(minute, deed.command, deed.username, deed.cmsweb_login, sentence, address.hex())
        with self._database.begin() as connection:
            if _counted(connection, own):
                return
            if _is_crowded(connection):
                anybody = replace(deed, username=None, cmsweb_login=None)
                _write(connection, anybody, None, sentence, _key(minute, deed.command, sentence))
            else:
                _write(connection, deed, address, sentence, own)
                _forget_oldest(connection)


def _key(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def _counted(connection: sa.Connection, key: bytes) -> bool:
    """Counts one more where there is such an entry; whether there is."""
    more = sa.update(_audit).where(_audit.c.told_together == key)
    return connection.execute(more.values(**_ONCE_MORE)).rowcount > 0


def _is_crowded(connection: sa.Connection) -> bool:
    new = sa.select(sa.func.count()).where(
        _audit.c.received_at > sa.func.now() - _MINUTE, _audit.c.told_together.is_not(None)
    )
    return connection.execute(new).scalar_one() >= _MOST_A_MINUTE


def _write(
    connection: sa.Connection, deed: AuditedAction, address: bytes | None, sentence: str, key: bytes
) -> None:
    insert = postgresql.insert(_audit).values(
        **finished_values(deed, Outcome.REFUSED, sentence), address=address, told_together=key
    )
    connection.execute(insert.on_conflict_do_update(index_elements=[_audit.c.told_together], set_=_ONCE_MORE))


def _forget_oldest(connection: sa.Connection) -> None:
    is_stranger_s = _audit.c.told_together.is_not(None)
    newest = sa.select(_audit.c.id).where(is_stranger_s).order_by(_audit.c.id.desc())
    last_kept = newest.offset(_MOST_KEPT - 1).limit(1).scalar_subquery()
    connection.execute(sa.delete(_audit).where(is_stranger_s, _audit.c.id < last_kept))


_ONCE_MORE = {"times": _audit.c.times + 1, "ended_at": sa.func.clock_timestamp()}
