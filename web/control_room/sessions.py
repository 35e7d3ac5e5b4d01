"""Sessions of the Control Room: a signed cookie, checked against the list that all servers share.

The cookie holds a random word; the list has its hash, so that nobody who reads the list can sign in by it,
and by the database's clock when it ends, so that no servers' clocks have to agree. A session is no longer any
good once its person's password or place in the settings has changed, or when the front end vouches for
another login than it did at the sign-in.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import timedelta

from flask import Request
from itsdangerous import BadData, URLSafeSerializer
from werkzeug.wrappers import Response

from dqmsquare_cfg import Settings
from storage.login_store import Session, SessionStore
from web.control_room.cookies import Cookie

_LONGEST = timedelta(hours=12)
_COOKIE = "control_room"
_WORD_BYTES = 32


@dataclass(frozen=True, slots=True)
class Expert:
    """Who is signed in: a user of the settings, or CMSWEB's login; `login` is CMSWEB's in either case."""

    person: str
    login: str | None
    key: bytes = field(repr=False)
    csrf_token: str = field(repr=False)


class Sessions:
    """Begins, finds and ends sessions."""

    def __init__(self, settings: Settings, sessions: SessionStore) -> None:
        self._secret = settings.session_secret.encode()
        self._users = settings.dqm_cr_usernames
        self._allowed_logins = settings.cr_allowed_logins
        self._list = sessions
        self._cookie = Cookie(settings, _COOKIE, _LONGEST)
        self._signed = URLSafeSerializer(settings.session_secret, salt="control room session")

    def is_allowed(self, login: str | None) -> bool:
        """Whether a login that the front end vouches for needs no password."""
        return login in self._allowed_logins

    def begin(
        self, response: Response, person: str, login: str | None, earlier: Expert | None, *, by_password: bool
    ) -> None:
        """Begins a session and gives it to the browser with a response; its `earlier` one ends."""
        word = secrets.token_urlsafe(_WORD_BYTES)
        known = self._password_credential(person) if by_password else self._login_credential(person)
        if known is None:
            raise ValueError(f"nobody can sign in as {person}")
        if earlier is not None:
            self._list.delete(earlier.key)
        self._list.add(_key(word), Session(person, login, known), _LONGEST)
        self._cookie.give(response, str(self._signed.dumps(word)))

    def find(self, request: Request, login: str | None) -> Expert | None:
        """Whose session a request belongs to, `login` being who the front end says it is from."""
        try:
            word = self._signed.loads(self._cookie.text(request))
        except BadData:
            return None
        session = self._find(_key(word), login)
        return None if session is None else self._expert(session.username, session.cmsweb_login, word)

    def goes_on(self, expert: Expert) -> bool:
        """Whether a session that was found before goes on now."""
        return self._find(expert.key, expert.login) is not None

    def end(self, response: Response, expert: Expert, *, everywhere: bool) -> None:
        """Ends a session, or all that its person has, and takes the cookie back."""
        if everywhere:
            self._list.delete_all(expert.person)
        else:
            self._list.delete(expert.key)
        self._cookie.take_back(response)

    def keyed(self, purpose: str, *parts: str) -> bytes:
        """A keyed hash of parts, for one purpose alone."""
        return hmac.digest(self._secret, "\0".join((purpose, *parts)).encode(), "sha256")

    def _expert(self, person: str, login: str | None, word: str) -> Expert:
        return Expert(person, login, _key(word), self.keyed("csrf", word).hex())

    def _find(self, key: bytes, login: str | None) -> Session | None:
        session = self._list.find(key)
        if session is None or session.cmsweb_login != login or not self._is_still_known(session):
            return None
        return session

    def _is_still_known(self, session: Session) -> bool:
        credentials = (self._password_credential(session.username), self._login_credential(session.username))
        return any(
            known is not None and hmac.compare_digest(known, session.credential_hash) for known in credentials
        )

    def _password_credential(self, person: str) -> bytes | None:
        password = self._users.get(person)
        return None if password is None else self.keyed("password", person, password)

    def _login_credential(self, person: str) -> bytes | None:
        return self.keyed("login", person) if person in self._allowed_logins else None


def _key(word: str) -> bytes:
    return hashlib.sha256(word.encode()).digest()
