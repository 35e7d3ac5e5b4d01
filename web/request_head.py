"""Head of a request: its fields and their limits, which are checked before anything else.

The parser has already checked the syntax, and that Content-Length and Transfer-Encoding exclude each other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from web.refusals import (
    BODY_TOO_LARGE,
    FIELD_TOO_LONG,
    HEAD_TOO_LARGE,
    MAX_BODY_BYTES,
    MAX_FIELD_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_PARAMETERS,
    MAX_URL_BYTES,
    TOO_MANY_PARAMETERS,
    URL_TOO_LONG,
    Refusal,
    RequestRefused,
)

_UNKNOWN_VERSION = Refusal(505, "This server supports HTTP/1.0 and HTTP/1.1.")
_NOT_ONE_HOST = Refusal(400, "A request must have one Host header.")
_UNKNOWN_CODING = Refusal(501, "The only supported transfer coding is chunked.")
_CHUNKED_1_0 = Refusal(400, "HTTP/1.0 has no transfer codings.")
_UPGRADE_WITH_BODY = Refusal(400, "A request with an Upgrade header can't have a body.")


class RequestHead(NamedTuple):
    """Method, path, raw query and header fields by name in lower case; repeated ones joined by commas.

    `has_body`: a body of at least one byte is announced. `content_length`: 0 if it is not known.
    """

    method: str
    path: str
    query: bytes
    fields: Mapping[bytes, bytes]
    has_body: bool
    content_length: int


def parse(scope: Mapping[str, Any]) -> RequestHead:
    """Head of an ASGI scope. Raises RequestRefused if it exceeds a limit or is not supported."""
    headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
    if len(headers) > MAX_HEADERS:
        raise RequestRefused(HEAD_TOO_LARGE)
    fields = dict(headers)
    if len(fields) != len(headers):
        fields = _joined(headers)
    if sum(map(len, fields)) + sum(map(len, fields.values())) > MAX_HEAD_BYTES:
        raise RequestRefused(HEAD_TOO_LARGE)
    if any(len(fields.get(name, b"")) > max_bytes for name, max_bytes in MAX_FIELD_BYTES.items()):
        raise RequestRefused(FIELD_TOO_LONG)
    if len(scope["raw_path"]) + len(scope["query_string"]) >= MAX_URL_BYTES:
        raise RequestRefused(URL_TOO_LONG)
    if scope["query_string"].count(b"&") >= MAX_PARAMETERS:
        raise RequestRefused(TOO_MANY_PARAMETERS)
    content_length = int(fields.get(b"content-length", 0))
    has_body = content_length > 0 or b"transfer-encoding" in fields
    _check(fields, scope["http_version"])
    if has_body:
        _check_body(fields, scope["http_version"], content_length)
    return RequestHead(
        scope["method"], scope["path"], scope["query_string"], fields, has_body, content_length
    )


def _check(fields: Mapping[bytes, bytes], version: str) -> None:
    if version not in ("1.0", "1.1"):
        raise RequestRefused(_UNKNOWN_VERSION)
    if b"host" not in fields and version == "1.1":
        raise RequestRefused(_NOT_ONE_HOST)


def _check_body(fields: Mapping[bytes, bytes], version: str, content_length: int) -> None:
    if b"transfer-encoding" in fields:
        if version == "1.0":
            raise RequestRefused(_CHUNKED_1_0)
        if fields[b"transfer-encoding"].lower() != b"chunked":
            raise RequestRefused(_UNKNOWN_CODING)
    if b"upgrade" in fields:
        # The parser treats what follows as the other protocol.
        raise RequestRefused(_UPGRADE_WITH_BODY)
    if content_length > MAX_BODY_BYTES:
        raise RequestRefused(BODY_TOO_LARGE)


def _joined(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name == b"host" and name in fields:
            raise RequestRefused(_NOT_ONE_HOST)
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields
