"""Response helpers: ETag-validated, streamed and CSV responses; headers and compression of every response."""

import csv
import gzip
import io
import time
from collections.abc import Generator, Iterable, Sequence
from hashlib import blake2b
from itertools import chain

from flask import Flask, Response, request

# Unix time of the response in ms, on a 304 too: browsers compute ages from it.
SERVER_TIME_HEADER = "Server-Time"
# Of a request of a page's script for an HTML fragment.
FRAGMENT_HEADER = "HX-Request"

# Nothing inline, nothing from another host. Bootstrap's style sheet embeds images as data: URLs.
_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
# Browser features that no page uses, so that an injected script cannot use them either.
_PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "publickey-credentials-get",
        "usb",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": _PERMISSIONS_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_COMPRESSED_TYPES = ("text/", "application/json")
_MIN_COMPRESSED_BYTES = 1000
# Fast, and still most of the gain: a live page of 60 kB takes a millisecond.
_GZIP_LEVEL = 5

# Spreadsheets run a text that begins with one of these as a formula ("CSV injection" at OWASP); where
# Japanese or Chinese is written, also with the full-width forms.
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Without a byte-order mark Excel reads a CSV file in the system's code page.
_BYTE_ORDER_MARK = "\ufeff"
_CSV_ROWS_PER_CHUNK = 500


def init_app(app: Flask) -> None:
    """Register the response hooks: security headers, relative redirects, compression."""
    # Flask runs them in reverse order.
    app.after_request(_add_security_headers)
    app.after_request(_make_redirect_relative)
    app.after_request(_compress)


def server_time() -> str:
    """Current value of `SERVER_TIME_HEADER`."""
    return str(time.time_ns() // 1_000_000)


def etag_response(body: str | bytes, mimetype: str = "text/html") -> Response:
    """Response tagged by a hash of its content; 304 if the request names that tag."""
    response = Response(body, mimetype=mimetype)
    content = response.get_data()
    response.set_etag(blake2b(content, digest_size=12).hexdigest())
    response.cache_control.no_cache = True
    response.headers[SERVER_TIME_HEADER] = server_time()
    response.make_conditional(request)
    # The HTTP server sends the date; a cached response would have an older one as well.
    del response.headers["Date"]
    return response


def streamed(chunks: Generator[bytes], mimetype: str) -> Response:
    """Response of any length, generated while it is sent; `chunks` must yield at least once.

    The first chunk is generated here, so that an unavailable database is still answered with 503.
    """
    response = Response(chain([next(chunks)], chunks), mimetype=mimetype)
    response.call_on_close(chunks.close)
    response.cache_control.no_cache = True
    return response


def csv_download(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """Streamed CSV file in UTF-8 with a byte-order mark and a header row; `None` becomes an empty field."""
    response = streamed(_csv_chunks(header, rows), "text/csv")
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response


def _csv_chunks(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Generator[bytes]:
    buffer = io.StringIO()
    buffer.write(_BYTE_ORDER_MARK)
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(header)
    for number, row in enumerate(rows, start=1):
        writer.writerow(map(_escape_formula, row))
        if number % _CSV_ROWS_PER_CHUNK == 0:
            yield _drain(buffer)
    yield _drain(buffer)


def _drain(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


def _escape_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_PREFIXES) else value


def _add_security_headers(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _make_redirect_relative(response: Response) -> Response:
    """Drop this server's origin from a redirect: it comes from the Host header, which the client chooses."""
    if response.location is not None and response.location.startswith(request.host_url):
        # One slash: two would start another host's name.
        response.location = "/" + response.location.removeprefix(request.host_url).lstrip("/")
        # The body repeats the location for browsers that follow no redirect.
        response.set_data(b"")
    return response


def _compress(response: Response) -> Response:
    if not _may_be_compressed(response):
        return response
    response.vary.add("Accept-Encoding")
    if not request.accept_encodings["gzip"] or (response.content_length or 0) < _MIN_COMPRESSED_BYTES:
        return response
    response.set_data(gzip.compress(response.get_data(), _GZIP_LEVEL, mtime=0))
    response.content_encoding = "gzip"
    tag, _is_weak = response.get_etag()
    if tag is not None:
        # Same content, other bytes than the uncompressed response.
        response.set_etag(tag, weak=True)
    return response


def _may_be_compressed(response: Response) -> bool:
    # A no-store response holds secrets; compressed next to client input, its length would leak them (BREACH).
    if response.is_streamed or response.content_encoding or response.cache_control.no_store:
        return False
    return (response.mimetype or "").startswith(_COMPRESSED_TYPES)
