"""Who it is that asks something of the Control Room, looked up once a request."""

from flask import g, request
from werkzeug.exceptions import Unauthorized

from web.control_room import client_identity
from web.control_room.services import desk
from web.control_room.sessions import Expert


def login() -> str | None:
    """Who CMSWEB's front end says the request is from. Raises Forbidden where that is forged."""
    if "cmsweb_login" not in g:
        g.cmsweb_login = client_identity.login(request, desk().settings.cmsweb_hmac_path)
    found: str | None = g.cmsweb_login
    return found


def refuse_forged() -> None:
    """Before each request: raises Forbidden for headers of the front end that it did not sign."""
    login()


def expert() -> Expert | None:
    """Who is signed in with the request, if anybody is."""
    if "expert" not in g:
        g.expert = desk().sessions.find(request, login())
    return known_expert()


def known_expert() -> Expert | None:
    """The same, as far as the request was looked at."""
    found: Expert | None = g.get("expert")
    return found


def known_login() -> str | None:
    """Who the front end says the request is from, as far as that was found to be true."""
    found: str | None = g.get("cmsweb_login")
    return found


def signed_in() -> Expert:
    """Who is signed in. Raises Unauthorized."""
    found = expert()
    if found is None:
        raise Unauthorized("Sign in first.")
    return found
