"""How answers are given: short ones only when they changed, with the server's clock; long ones in pieces."""

from collections.abc import Generator
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import chain

from flask import Response, request

# Unix milliseconds of the moment of the answer, on a 304 too: what browsers compute ages from.
CLOCK_HEADER = "Server-Time"


def clock() -> str:
    """The value of `CLOCK_HEADER` now."""
    return str(round(datetime.now(UTC).timestamp() * 1000))


def conditional(body: str | bytes, mimetype: str = "text/html") -> Response:
    """An answer tagged by its content: 304 to a request that names the tag, so that it is sent once."""
    response = Response(body, mimetype=mimetype)
    content = response.get_data()
    response.set_etag(blake2b(content, digest_size=12).hexdigest())
    response.cache_control.no_cache = True
    response.headers[CLOCK_HEADER] = clock()
    response.make_conditional(request)
    return response


def in_pieces(pieces: Generator[bytes], mimetype: str) -> Response:
    """An answer of any length, made while it is sent; `pieces` has one or more.

    The first is made before the answer begins: a database that is away is a 503 still.
    """
    response = Response(chain([next(pieces)], pieces), mimetype=mimetype)
    response.call_on_close(pieces.close)
    response.cache_control.no_cache = True
    return response
