"""How fast somebody may try passwords: failed tries slow further ones down, across all workers and replicas.

Three things are counted. Failures of a user from an address make further tries *of that user from there*
wait, the longer the more others fail for the same user elsewhere; failures from an address for whichever
users make that address wait, later. So who guesses is slowed down, and nobody makes anyone wait who comes
from somewhere else; a browser by which the user has signed in before counts as an address of its own
(`web/control_room/known_browsers.py`). A try that comes too early is not looked at and not counted, so that
no wait is longer than the last one that was told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

import db

MAX_WAIT = timedelta(seconds=30)
# So many failures cost no wait yet: of one user from one address, of a user or from an address over all.
_FREE_TOGETHER = 3
_FREE_EACH = 10
# Without a failure for so long, the earlier ones are forgotten.
_FORGOTTEN_AFTER = timedelta(minutes=15)

_tries = db.login_attempts


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A try to sign in by what is counted: keyed hashes of the user, the address, and both together."""

    user: bytes
    address: bytes
    user_and_address: bytes


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int = 0
    since_last: timedelta = _FORGOTTEN_AFTER


class LoginThrottle:
    """The failed tries of late."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def check_and_count(self, attempt: LoginAttempt) -> timedelta:
        """Counts a try as failed before it is looked at and returns zero; or counts nothing and returns how
        long to wait. Taking and counting are one, so that tries side by side don't get past it.
        """
        with self._database.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(db.LOGIN_LOCK)))
            now = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            connection.execute(sa.delete(_tries).where(_tries.c.failed_at <= now - _FORGOTTEN_AFTER))
            # The clock was set back since.
            connection.execute(sa.update(_tries).where(_tries.c.failed_at > now).values(failed_at=now))
            wait = _wait(attempt, _failures(connection, attempt, now))
            if not wait:
                _count(connection, attempt, now)
        return wait

    def reset(self, attempt: LoginAttempt) -> None:
        """Takes a try back that turned out to be right; with it the user's earlier ones from there."""
        others = _tries.c.id.in_((attempt.user, attempt.address))
        with self._database.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(db.LOGIN_LOCK)))
            connection.execute(sa.delete(_tries).where(_tries.c.id == attempt.user_and_address))
            connection.execute(
                sa.update(_tries).where(others).values(failures=sa.func.greatest(_tries.c.failures - 1, 0))
            )


def _failures(connection: sa.Connection, attempt: LoginAttempt, now: datetime) -> Mapping[bytes, _Failures]:
    ids = (attempt.user, attempt.address, attempt.user_and_address)
    rows = connection.execute(sa.select(_tries).where(_tries.c.id.in_(ids)))
    return {bytes(row.id): _Failures(row.failures, now - row.failed_at) for row in rows}


def _wait(attempt: LoginAttempt, failures: Mapping[bytes, _Failures]) -> timedelta:
    """How long a try has to wait yet. What others do for the same user makes a wait longer, never begin."""
    none = _Failures()
    together = failures.get(attempt.user_and_address, none)
    address, user = failures.get(attempt.address, none), failures.get(attempt.user, none)
    of_both = max(_pause(together.count, _FREE_TOGETHER), _pause(user.count, _FREE_EACH))
    of_address = _pause(address.count, _FREE_EACH)
    return max(of_both - together.since_last, of_address - address.since_last, timedelta(0))


def _pause(failures: int, free: int) -> timedelta:
    """Nothing at first, then 1 s, 2 s, 4 s … up to the longest."""
    if failures < free:
        return timedelta(0)
    # Beyond this the power of two is the longest wait anyway.
    doublings = min(failures - free, 10)
    return min(timedelta(seconds=2**doublings), MAX_WAIT)


def _count(connection: sa.Connection, attempt: LoginAttempt, now: datetime) -> None:
    ids = (attempt.user, attempt.address, attempt.user_and_address)
    insert = postgresql.insert(_tries).values([{"id": id_, "failures": 1, "failed_at": now} for id_ in ids])
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[_tries.c.id],
            set_={"failures": _tries.c.failures + 1, "failed_at": insert.excluded.failed_at},
        )
    )
