"""Protection against cross-site request forgery.

There are two checks. The first is of the site that a request comes from, which browsers state in
`Sec-Fetch-Site`, some only in `Origin`; scripts send neither. The second is of a token that only a page of
this site can have read. It is a keyed hash of the session's secret, so it is valid for one session only.
`Referer` is not used, and `Origin` is also compared with `PUBLIC_ORIGIN`, because CMSWEB's front end
overwrites `Referer` and `Host`.
"""

import hmac
from urllib.parse import urlsplit

from flask import request
from werkzeug.exceptions import Forbidden

from web.control_room.services import services
from web.control_room.sessions import Expert

HEADER = "X-CSRF-Token"
FIELD = "csrf_token"


def reject_cross_site() -> None:
    """Raise Forbidden if a page of another site started the request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        origin = request.headers.get("Origin")
        is_own = origin is None or _is_own_origin(origin)
    else:
        # "none" is typed into the address bar, which no page can cause.
        is_own = site in ("same-origin", "none")
    if not is_own:
        raise Forbidden("This request was started by a page of another site.")


def require_token(expert: Expert) -> None:
    """Raise Forbidden for a request from another site, or without this session's token in header or form."""
    reject_cross_site()
    token = request.headers.get(HEADER) or request.form.get(FIELD, "")
    if not hmac.compare_digest(token.encode(errors="replace"), expert.csrf_token.encode()):
        raise Forbidden("The CSRF token of your session is missing or wrong. Reload the page.")


def _is_own_origin(origin: str) -> bool:
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return False
    return host == request.host or origin == services().settings.public_origin
