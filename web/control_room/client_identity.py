"""Who CMSWEB's front end says a visitor is: its headers, believed by their signature alone.

The front end signs the headers `cms-authn-*` and `cms-authz-*` in `cms-authn-hmac`: HMAC-SHA1, keyed by the
bytes of a file that it shares with what is behind it, over the lengths and the texts of all of them.
"""

import hmac
from collections.abc import Iterable
from pathlib import Path

from flask import Request
from werkzeug.exceptions import Forbidden

_SIGNED = ("cms-authn", "cms-authz")
_SIGNATURE = "cms-authn-hmac"
_LOGIN = "cms-authn-login"
_STATUS = "cms-auth-status"
_OK = "OK"


def login(request: Request, key_path: Path | None) -> str | None:
    """The login that the front end vouches for; `None` if it names none, or no key is configured.

    Raises Forbidden for headers without their right signature, and for any if the key can't be read.
    """
    if key_path is None:
        return None
    headers = {name.lower(): value for name, value in request.headers.items()}
    signed = {name: value for name, value in headers.items() if name.startswith(_SIGNED)}
    if not signed:
        return None
    given = signed.pop(_SIGNATURE, "")
    expected = signature(signed.items(), _key(key_path))
    if not hmac.compare_digest(given.encode("latin-1"), expected.encode("latin-1")):
        raise Forbidden("The headers that say who you are don't have the front end's signature.")
    return (signed.get(_LOGIN) or None) if headers.get(_STATUS) == _OK else None


def signature(headers: Iterable[tuple[str, str]], key: bytes) -> str:
    """What the front end signs headers with; their names in lower case, their values as WSGI has them."""
    ordered = sorted(headers)
    prefix = "".join(f"h{len(name):x}v{len(value):x}" for name, value in ordered)
    suffix = "".join(f"{name}{value}" for name, value in ordered)
    return hmac.digest(key, f"{prefix}#{suffix}".encode("latin-1"), "sha1").hex()


def _key(path: Path) -> bytes:
    """Read anew each time: it is renewed under a running server."""
    try:
        key = path.read_bytes()
    except OSError as error:
        raise Forbidden("The key that proves who you are can't be read here.") from error
    if not key:
        raise Forbidden("The key that proves who you are is empty here.")
    return key
