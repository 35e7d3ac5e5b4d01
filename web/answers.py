"""How pages and their parts are answered: only when they changed, and always with the server's clock."""

from datetime import UTC, datetime
from hashlib import blake2b

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
