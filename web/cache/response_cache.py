"""Response cache: responses that are the same for everyone, served again as long as they are valid.

An unchanged page costs a look-up in the event loop: no query, no template, no thread. A change costs one
rendering, however many requests wait for it. Each worker has its own cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cachetools import LRUCache
from werkzeug.http import parse_accept_header, parse_etags, unquote_etag

from web.cache.dependencies import CacheDependencies

Headers = Sequence[tuple[bytes, bytes]]
# Path, query, and whether the response may be compressed.
CacheKey = tuple[str, bytes, bool]

# Of a worker's memory of 90 MB; least recently used responses are dropped first.
_MAX_BYTES = 1_000_000
_MAX_RESPONSE_BYTES = 500_000
# Dependencies and bookkeeping of a response.
_OVERHEAD_BYTES = 2_000
_MAX_ENCODINGS_BYTES = 200
_OK = 200
_SERVER_TIME = b"server-time"
# A response may vary only by what is in its key.
_ALLOWED_VARY = (None, b"Accept-Encoding")
# Headers of the content, which a 304 doesn't have.
_CONTENT_HEADERS = (b"content-type", b"content-length", b"content-encoding")


@dataclass(frozen=True, slots=True)
class RenderedResponse:
    """Response of the application to an unconditional GET.

    `headers` are without the server's time; `etag` is as it was sent. `is_cacheable`: it is the same for
    everyone, as long as its dependencies are valid.
    """

    status: int
    headers: Headers
    not_modified_headers: Headers
    body: bytes
    etag: bytes | None
    route: str
    dependencies: CacheDependencies
    is_cacheable: bool

    def matches(self, if_none_match: bytes | None) -> bool:
        """Whether the client has the content already."""
        if self.etag is None or if_none_match is None:
            return False
        # A browser sends the one tag that it was given.
        if if_none_match == self.etag:
            return True
        tag, _is_weak = unquote_etag(self.etag.decode("latin-1"))
        return parse_etags(if_none_match.decode("latin-1")).contains_weak(tag)


def rendered_response(
    status: int, headers: Headers, body: bytes, route: str, dependencies: CacheDependencies
) -> RenderedResponse:
    """Response as the application made it, and whether others may get it as well."""
    by_name = dict(headers)
    etag = by_name.get(b"etag")
    lasting = [_shared(field) for field in headers if field[0] != _SERVER_TIME]
    return RenderedResponse(
        status=status,
        headers=lasting,
        not_modified_headers=[field for field in lasting if field[0] not in _CONTENT_HEADERS],
        body=body,
        etag=etag,
        route=route,
        dependencies=dependencies,
        is_cacheable=status == _OK
        and etag is not None
        and dependencies.is_complete
        and b"set-cookie" not in by_name
        and by_name.get(b"vary") in _ALLOWED_VARY,
    )


@lru_cache(maxsize=256)
def _shared(field: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """The same object for equal header fields: most responses have most in common."""
    return field


class ResponseCache:
    """Cached responses; used in the event loop alone."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._entries: LRUCache[CacheKey, _Entry] = LRUCache(max_bytes, getsizeof=lambda entry: entry.size)

    def get(self, key: CacheKey) -> RenderedResponse | None:
        """Valid response, if there is one."""
        entry = self._entries.get(key)
        return entry.response if entry is not None and entry.response.dependencies.are_valid() else None

    def put(self, key: CacheKey, response: RenderedResponse) -> None:
        """Store a response; drops others if there is no space."""
        headers = sum(len(name) + len(value) for name, value in response.headers)
        path, query, _ = key
        size = len(response.body) + headers + len(path) + len(query) + _OVERHEAD_BYTES
        if size <= _MAX_RESPONSE_BYTES:
            self._entries[key] = _Entry(response, size)


@dataclass(frozen=True, slots=True)
class _Entry:
    response: RenderedResponse
    size: int


def accepts_gzip(accept_encoding: bytes) -> bool:
    """Whether a client takes a compressed response, by its `Accept-Encoding`."""
    return len(accept_encoding) <= _MAX_ENCODINGS_BYTES and _accepts_gzip(accept_encoding)


@lru_cache(maxsize=64)
def _accepts_gzip(accept_encoding: bytes) -> bool:
    return parse_accept_header(accept_encoding.decode("latin-1"))["gzip"] > 0
