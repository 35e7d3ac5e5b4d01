"""Refusals by the server itself, and the bounds on a request's head and body that lead to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus

from web import problems
from web.responses import SECURITY_HEADERS

# A header of CMSWEB's may hold a whole certificate.
MAX_HEAD_BYTES = 64 * 1024
# Headers that take long to parse: 60 kB of `Accept` take 76 ms. A cookie may be as long as Apache lets it be.
_MAX_NEGOTIATION_BYTES, _MAX_COOKIES_BYTES = 1024, 8192
MAX_FIELD_BYTES: Mapping[bytes, int] = {
    b"accept": _MAX_NEGOTIATION_BYTES,
    b"if-none-match": _MAX_NEGOTIATION_BYTES,
    b"cookie": _MAX_COOKIES_BYTES,
}
MAX_HEADERS = 200
# The longest URL of a live page fits.
MAX_URL_BYTES = 4094
# No page has a third of them. Parsing 500 that are percent-encoded takes as long as a page.
MAX_PARAMETERS = 100
# The largest form is a login: 1024 characters of a password have up to 12 kB.
MAX_BODY_BYTES = 16 * 1024
BODY_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Refusal:
    """Response of the server itself: a status and a sentence, as plain text or as problem details."""

    status: int
    sentence: str
    retry_after_s: int | None = None
    is_problem: bool = False

    @cached_property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of the response, which ends the connection."""
        fields = {
            "Content-Type": problems.MEDIA_TYPE if self.is_problem else "text/plain; charset=utf-8",
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            **SECURITY_HEADERS,
            **({} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}),
            "Connection": "close",
        }
        return [(name.lower().encode(), value.encode()) for name, value in fields.items()]

    @cached_property
    def body(self) -> bytes:
        """The sentence, or the problem details that contain it."""
        return problems.body(self.status, self.sentence) if self.is_problem else self.sentence.encode()

    @cached_property
    def raw(self) -> bytes:
        """The whole response as it is sent."""
        status = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n".encode()
        return b"".join((status, *(b"%s: %s\r\n" % field for field in self.headers), b"\r\n", self.body))


HEAD_TOO_LARGE = Refusal(
    431, f"Request headers are limited to {MAX_HEADERS} fields and {MAX_HEAD_BYTES // 1024} kB in total."
)
FIELD_TOO_LONG = Refusal(
    431,
    f"Accept and If-None-Match are limited to {_MAX_NEGOTIATION_BYTES // 1024} kB each, cookies to "
    f"{_MAX_COOKIES_BYTES // 1024} kB in total.",
)
URL_TOO_LONG = Refusal(414, f"URLs are limited to {MAX_URL_BYTES} bytes.")
TOO_MANY_PARAMETERS = Refusal(400, f"URLs are limited to {MAX_PARAMETERS} parameters.")
BODY_TOO_LARGE = Refusal(413, f"Request bodies are limited to {MAX_BODY_BYTES // 1024} kB.")
BODY_TOO_SLOW = Refusal(408, f"A request body must arrive within {BODY_TIMEOUT_S:.0f} s.")


class RequestRefused(Exception):
    """Raised when a request is not passed on to the application."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.sentence)
        self.refusal = refusal
