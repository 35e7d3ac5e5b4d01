"""Browsers by which a user has signed in before: their tries to sign in are counted apart.

Otherwise whoever shares an address with an expert, or comes through the same proxy, could keep the expert
waiting for ever. As in OWASP's "Slow Down Online Guessing Attacks with Device Cookies".
"""

import secrets
from datetime import timedelta

from flask import Request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.wrappers import Response

from dqmsquare_cfg import Settings
from web.control_room.cookies import Cookie

_COOKIE = "control_room_browser"
_REMEMBERED = timedelta(days=180)
_MARK_BYTES = 16


class KnownBrowsers:
    """Gives browsers a mark to be known by, and finds it again."""

    def __init__(self, settings: Settings) -> None:
        self._cookie = Cookie(settings, _COOKIE, _REMEMBERED)
        self._signed = URLSafeTimedSerializer(settings.session_secret, salt="control room browser")

    def remember(self, response: Response, user: str) -> None:
        """Marks the browser that gets a response as one of a user, who has just proved to be there."""
        self._cookie.give(response, str(self._signed.dumps([user, secrets.token_hex(_MARK_BYTES)])))

    def mark(self, request: Request, user: str) -> str | None:
        """What a browser is known by as this user's; `None` if it isn't."""
        try:
            known = self._signed.loads(self._cookie.text(request), int(_REMEMBERED.total_seconds()))
        except BadSignature:
            return None
        match known:
            case [str() as owner, str() as mark] if owner == user:
                return mark
        return None
