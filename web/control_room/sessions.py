"""Sessions and cookies of the Control Room.

A session is a signed cookie with a random token. All servers share the session store. It has only a hash of
the token, so that nobody can sign in with its contents. A session expires by the database's clock: servers'
clocks need not agree. It is valid only while the user's password, or place in the settings, is unchanged and
the front end vouches for the same login as when it started.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import timedelta

from flask import Request
from itsdangerous import BadData, BadSignature, URLSafeSerializer, URLSafeTimedSerializer
from werkzeug.wrappers import Response

from dqmsquare_cfg import Settings
from storage.audit_log import AuditedAction
from storage.login_store import Session, SessionStore
from web.action_text import CHANGES

_SESSION_LIFETIME = timedelta(hours=12)
_TOKEN_BYTES = 32
_DEVICE_LIFETIME = timedelta(days=180)
_DEVICE_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Expert:
    """A signed-in expert. Without a password, `username` is the CMSWEB login."""

    username: str
    cmsweb_login: str | None
    session_key: bytes = field(repr=False)
    csrf_token: str = field(repr=False)

    def action(self, command: str) -> AuditedAction:
        """An action of this expert, as the audit records it."""
        return AuditedAction(
            command,
            username=self.username,
            cmsweb_login=self.cmsweb_login,
            is_change=command in CHANGES,
        )


class Sessions:
    """Starts, finds and ends sessions."""

    def __init__(self, settings: Settings, store: SessionStore) -> None:
        self._secret = settings.session_secret.encode()
        self._users = settings.dqm_cr_usernames
        self._allowed_logins = settings.cr_allowed_logins
        self._store = store
        self._cookie = _Cookie(settings, "control_room", _SESSION_LIFETIME)
        self._serializer = URLSafeSerializer(settings.session_secret, salt="control room session")

    def needs_no_password(self, cmsweb_login: str | None) -> bool:
        """Whether a login that the front end vouches for is in `CR_ALLOWED_LOGINS`."""
        return cmsweb_login in self._allowed_logins

    def start(
        self,
        response: Response,
        username: str,
        cmsweb_login: str | None,
        previous: Expert | None,
        *,
        by_password: bool,
    ) -> None:
        """Start a session, set its cookie, and end the browser's previous session."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        credential = self._password_credential(username) if by_password else self._login_credential(username)
        if credential is None:
            raise ValueError(f"{username} can't sign in")
        if previous is not None:
            self._store.delete(previous.session_key)
        self._store.add(_key(token), Session(username, cmsweb_login, credential), _SESSION_LIFETIME)
        self._cookie.set(response, str(self._serializer.dumps(token)))

    def find(self, request: Request, cmsweb_login: str | None) -> Expert | None:
        """The expert whose session a request carries, if it is valid for the front end's login."""
        try:
            token = self._serializer.loads(self._cookie.get(request))
        except BadData:
            return None
        session = self._valid(_key(token), cmsweb_login)
        if session is None:
            return None
        return Expert(
            session.username, session.cmsweb_login, _key(token), self.keyed_hash("csrf", token).hex()
        )

    def is_valid(self, expert: Expert) -> bool:
        """Whether a session that was found earlier is still valid."""
        return self._valid(expert.session_key, expert.cmsweb_login) is not None

    def end(self, response: Response, expert: Expert, *, everywhere: bool) -> None:
        """End one session, or all sessions of its user, and delete the cookie."""
        if everywhere:
            self._store.delete_all(expert.username)
        else:
            self._store.delete(expert.session_key)
        self._cookie.delete(response)

    def keyed_hash(self, purpose: str, *parts: str) -> bytes:
        """A keyed hash of the parts that is valid for one purpose only."""
        return hmac.digest(self._secret, "\0".join((purpose, *parts)).encode(), "sha256")

    def _valid(self, key: bytes, cmsweb_login: str | None) -> Session | None:
        session = self._store.find(key)
        if (
            session is None
            or session.cmsweb_login != cmsweb_login
            or not self._has_current_credential(session)
        ):
            return None
        return session

    def _has_current_credential(self, session: Session) -> bool:
        current = (self._password_credential(session.username), self._login_credential(session.username))
        return any(
            credential is not None and hmac.compare_digest(credential, session.credential_hash)
            for credential in current
        )

    def _password_credential(self, username: str) -> bytes | None:
        password = self._users.get(username)
        return None if password is None else self.keyed_hash("password", username, password)

    def _login_credential(self, username: str) -> bytes | None:
        return self.keyed_hash("login", username) if username in self._allowed_logins else None


class DeviceCookies:
    """Cookies of browsers in which a user has signed in before; their login attempts are counted separately.

    Otherwise anybody who shares an expert's address, or comes through the same proxy, could keep the expert
    waiting. Follows OWASP's "Slow Down Online Guessing Attacks with Device Cookies".
    """

    def __init__(self, settings: Settings) -> None:
        self._cookie = _Cookie(settings, "control_room_browser", _DEVICE_LIFETIME)
        self._serializer = URLSafeTimedSerializer(settings.session_secret, salt="control room browser")

    def issue(self, response: Response, user: str) -> None:
        """Set a new device cookie for a user who has just signed in."""
        self._cookie.set(response, str(self._serializer.dumps([user, secrets.token_hex(_DEVICE_ID_BYTES)])))

    def device_id(self, request: Request, user: str) -> str | None:
        """The id of the request's device cookie if it was issued to this user."""
        try:
            content = self._serializer.loads(self._cookie.get(request), int(_DEVICE_LIFETIME.total_seconds()))
        except BadSignature:
            return None
        match content:
            case [str() as owner, str() as device_id] if owner == user:
                return device_id
        return None


class _Cookie:
    """A cookie that is sent to this site's own requests only, over TLS, and that no script can read."""

    def __init__(self, settings: Settings, name: str, lifetime: timedelta) -> None:
        self._name = name
        self._lifetime = lifetime
        self._path = settings.server_url_prefix or "/"
        self._is_secure = not settings.is_development

    def get(self, request: Request) -> str:
        """The cookie's value, empty if the request has none."""
        return request.cookies.get(self._name, "")

    def set(self, response: Response, value: str) -> None:
        """Set the cookie."""
        self._write(response, value, self._lifetime)

    def delete(self, response: Response) -> None:
        """Delete the cookie."""
        self._write(response, "", timedelta(0))

    def _write(self, response: Response, value: str, lifetime: timedelta) -> None:
        response.set_cookie(
            self._name,
            value,
            max_age=lifetime,
            path=self._path,
            secure=self._is_secure,
            httponly=True,
            samesite="Strict",
        )


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
