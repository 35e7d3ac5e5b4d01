"""Login sessions of the Control Room, and the throttle of login attempts.

Both are stored in the playback cluster's database, so that all workers and replicas share them. All times are
the database's.

The throttle counts failures of three kinds. Failures of a user from one address delay further attempts of
that user from that address, the longer the more the user fails elsewhere. An address from which many
different users fail is delayed as a whole. Behind a proxy all visitors may have the same address: there, the
mistakes of one user delay no other, and a browser in which the user has logged in before counts as an address
of its own (`web/control_room/sessions.py`). An attempt that comes too early is neither checked nor counted,
so that no delay exceeds the last one that was reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

import db

MAX_WAIT = timedelta(seconds=30)
# Failures without a delay: of one user from one address, and of a user from all addresses.
_FREE_PER_USER_AND_ADDRESS = 3
_FREE_PER_USER = 10
# Users who may fail from one address without a delay of that address.
_FREE_USERS_PER_ADDRESS = 10
# After so long without a failure, the earlier ones are forgotten.
_FORGET_AFTER = timedelta(minutes=15)

_sessions = db.login_sessions
_attempts = db.login_attempts


@dataclass(frozen=True, slots=True)
class Session:
    """A session that has not expired; `cmsweb_login` is set if it is bound to CMSWEB's identity."""

    username: str
    cmsweb_login: str | None
    credential_hash: bytes


class SessionStore:
    """The sessions, by the hash of the browser's cookie."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def add(self, key: bytes, session: Session, lifetime: timedelta) -> None:
        """Add a session, and delete those that have expired."""
        with self._database.begin() as connection:
            connection.execute(sa.delete(_sessions).where(_sessions.c.expires_at <= sa.func.now()))
            connection.execute(
                sa.insert(_sessions).values(
                    id=key,
                    username=session.username,
                    cmsweb_login=session.cmsweb_login,
                    credential_hash=session.credential_hash,
                    expires_at=sa.func.now() + lifetime,
                )
            )

    def find(self, key: bytes) -> Session | None:
        """The session; `None` if there is none or it has expired."""
        columns = (_sessions.c.username, _sessions.c.cmsweb_login, _sessions.c.credential_hash)
        statement = sa.select(*columns).where(_sessions.c.id == key, _sessions.c.expires_at > sa.func.now())
        with self._database.connect() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else Session(*row)

    def delete(self, key: bytes) -> None:
        """Delete a session."""
        with self._database.begin() as connection:
            connection.execute(sa.delete(_sessions).where(_sessions.c.id == key))

    def delete_all(self, username: str) -> None:
        """Delete all sessions of a user."""
        with self._database.begin() as connection:
            connection.execute(sa.delete(_sessions).where(_sessions.c.username == username))


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """Keyed hashes that a login attempt is counted by: the user, the address, and both combined."""

    user: bytes
    address: bytes
    user_and_address: bytes

    @property
    def ids(self) -> tuple[bytes, bytes, bytes]:
        """All three hashes."""
        return self.user, self.address, self.user_and_address


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int = 0
    since_last: timedelta = _FORGET_AFTER


class LoginThrottle:
    """The recent failed login attempts."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def check_and_count(self, attempt: LoginAttempt) -> timedelta:
        """Zero, with the attempt counted as failed in advance; or the time to wait, with nothing counted.

        Checking and counting are one transaction, so that concurrent attempts can't bypass the throttle.
        """
        with self._database.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(db.LOGIN_LOCK)))
            now = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            connection.execute(sa.delete(_attempts).where(_attempts.c.last_failed_at <= now - _FORGET_AFTER))
            # In case the clock has been set back.
            future = sa.update(_attempts).where(_attempts.c.last_failed_at > now)
            connection.execute(future.values(last_failed_at=now))
            failures = _failures(connection, attempt, now)
            wait = _wait(attempt, failures)
            if not wait:
                ids = [attempt.user, attempt.user_and_address]
                # An address counts the users who fail, not how often they do.
                if attempt.user_and_address not in failures:
                    ids.append(attempt.address)
                _count(connection, ids, now)
        return wait

    def reset(self, attempt: LoginAttempt) -> None:
        """Uncount a successful attempt, and forget the user's failures from the same address."""
        counted = sa.update(_attempts).where(_attempts.c.id.in_((attempt.user, attempt.address)))
        with self._database.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(db.LOGIN_LOCK)))
            connection.execute(sa.delete(_attempts).where(_attempts.c.id == attempt.user_and_address))
            connection.execute(counted.values(failures=sa.func.greatest(_attempts.c.failures - 1, 0)))


def _failures(connection: sa.Connection, attempt: LoginAttempt, now: datetime) -> Mapping[bytes, _Failures]:
    rows = connection.execute(sa.select(_attempts).where(_attempts.c.id.in_(attempt.ids)))
    return {bytes(row.id): _Failures(row.failures, now - row.last_failed_at) for row in rows}


def _wait(attempt: LoginAttempt, failures: Mapping[bytes, _Failures]) -> timedelta:
    """Remaining time to wait. Failures of the user elsewhere can lengthen a delay but not cause one."""
    none = _Failures()
    user, address, combined = (failures.get(id_, none) for id_ in attempt.ids)
    user_delay = max(_delay(combined.count, _FREE_PER_USER_AND_ADDRESS), _delay(user.count, _FREE_PER_USER))
    address_delay = _delay(address.count, _FREE_USERS_PER_ADDRESS)
    return max(user_delay - combined.since_last, address_delay - address.since_last, timedelta(0))


def _delay(failures: int, free: int) -> timedelta:
    """Zero for the free failures, then 1 s, 2 s, 4 s … up to `MAX_WAIT`."""
    if failures < free:
        return timedelta(0)
    # More doublings exceed the maximum anyway.
    doublings = min(failures - free, 10)
    return min(timedelta(seconds=2**doublings), MAX_WAIT)


def _count(connection: sa.Connection, ids: Sequence[bytes], now: datetime) -> None:
    rows = [{"id": id_, "failures": 1, "last_failed_at": now} for id_ in ids]
    insert = postgresql.insert(_attempts).values(rows)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[_attempts.c.id],
            set_={
                "failures": _attempts.c.failures + 1,
                "last_failed_at": insert.excluded.last_failed_at,
            },
        )
    )
