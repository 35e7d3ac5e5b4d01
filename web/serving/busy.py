"""What a visitor is told when there is more to do than the server can: at once, and when to come again."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from web.limits import OVERLOADED, RETRY_AFTER_S
from web.responses import SECURITY_HEADERS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

_STATUS = "503 Service Unavailable"
_HEADERS = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(OVERLOADED))),
    ("Retry-After", str(RETRY_AFTER_S)),
    ("Cache-Control", "no-store"),
    *SECURITY_HEADERS.items(),
]
_LINES = (f"HTTP/1.1 {_STATUS}", *(f"{name}: {value}" for name, value in _HEADERS), "Connection: close")

# The whole of it, for a request that nobody has looked at.
RAW = "\r\n".join((*_LINES, "", OVERLOADED)).encode()


def answer(start_response: "StartResponse") -> Iterable[bytes]:
    """The refusal as a WSGI application gives it."""
    start_response(_STATUS, list(_HEADERS))
    return (OVERLOADED.encode(),)
