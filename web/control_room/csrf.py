"""Requests that another site made a browser send are refused.

Two things are asked for. The browser's own word where a request began (`Sec-Fetch-Site`, or `Origin` where a
browser has only that; a script has neither), and, from whoever is signed in, a token that only a page of
this site can have read: a keyed hash of the session's secret, so that a token of another session is none.
"""

import hmac
from urllib.parse import urlsplit

from flask import Request
from werkzeug.exceptions import Forbidden

from web.control_room.sessions import Expert

HEADER = "X-CSRF-Token"
FIELD = "csrf_token"


def refuse_from_elsewhere(request: Request) -> None:
    """Raises Forbidden for a request that began on a page of another site."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        origin = request.headers.get("Origin")
        is_own = origin is None or _names(origin, request.host)
    else:
        # By hand from the address bar is "none", which no page can cause.
        is_own = site in ("same-origin", "none")
    if not is_own:
        raise Forbidden("This request was begun by a page of another site.")


def _names(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def require_token(request: Request, expert: Expert) -> None:
    """Raises Forbidden for a request without this session's token, in the header or in the form."""
    refuse_from_elsewhere(request)
    given = request.headers.get(HEADER) or request.form.get(FIELD, "")
    if not hmac.compare_digest(given.encode(errors="replace"), expert.csrf_token.encode()):
        raise Forbidden("The token of your session is missing or wrong; load the page anew.")
