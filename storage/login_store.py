"""Who is signed in to the Control Room: the list that every session cookie is checked against.

It is kept in the playback cluster's database, so that all workers and replicas know of one another's
sign-ins and sign-outs. Times are the database's, so that they agree on when a session ends.
"""

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

import db

_sessions = db.login_sessions


@dataclass(frozen=True, slots=True)
class Session:
    """A session that goes on: whose, CMSWEB's login if that is bound to it, what was known to sign in by."""

    username: str
    cmsweb_login: str | None
    credential_hash: bytes


class SessionStore:
    """The sessions that go on, by the hash of what the browser holds."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def add(self, key: bytes, session: Session, lasts: timedelta) -> None:
        """Adds a session; those that have run out are forgotten."""
        with self._database.begin() as connection:
            connection.execute(sa.delete(_sessions).where(_sessions.c.ends_at <= sa.func.now()))
            connection.execute(
                sa.insert(_sessions).values(
                    id=key,
                    person=session.username,
                    login=session.cmsweb_login,
                    credential=session.credential_hash,
                    ends_at=sa.func.now() + lasts,
                )
            )

    def find(self, key: bytes) -> Session | None:
        """A session that goes on; `None` if there is none, or it has run out."""
        statement = sa.select(_sessions.c.person, _sessions.c.login, _sessions.c.credential).where(
            _sessions.c.id == key, _sessions.c.ends_at > sa.func.now()
        )
        with self._database.connect() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else Session(row.person, row.login, row.credential)

    def delete(self, key: bytes) -> None:
        """Ends a session."""
        with self._database.begin() as connection:
            connection.execute(sa.delete(_sessions).where(_sessions.c.id == key))

    def delete_all(self, person: str) -> None:
        """Ends every session of a person."""
        with self._database.begin() as connection:
            connection.execute(sa.delete(_sessions).where(_sessions.c.person == person))
