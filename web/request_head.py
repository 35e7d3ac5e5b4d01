"""The head of a request as far as it can be told before the request is taken from its connection."""

import re
from dataclasses import dataclass
from typing import Self

# The path as it is, so that it needs no decoding.
_FIRST_LINE = re.compile(rb"GET (/[\w/.~-]*)(?:\?([^ ]*))? HTTP/1\.1")
_HEADER = re.compile(rb"[\w-]+:")
_ENCODINGS = b"accept-encoding"
# What a request has that goes on behind its head.
_OF_BODY = (b"content-length", b"transfer-encoding", b"expect", b"upgrade")


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What chooses an answer: path, query, and in which encodings it may come."""

    path: str
    query: str
    encodings: str

    @classmethod
    def of(cls, received: bytes) -> Self | None:
        """The head of what came in; `None` if that is anything but one whole and plain GET."""
        first, *lines = received.split(b"\r\n")
        asked = _FIRST_LINE.fullmatch(first)
        if asked is None or lines[-2:] != [b"", b""] or not all(map(_HEADER.match, lines[:-2])):
            return None
        headers = dict(line.partition(b":")[::2] for line in lines[:-2])
        named = {name.lower(): value.strip() for name, value in headers.items()}
        if len(named) < len(lines) - 2 or any(name in named for name in _OF_BODY):
            return None
        query, encodings = asked[2] or b"", named.get(_ENCODINGS, b"")
        return cls(asked[1].decode("latin-1"), query.decode("latin-1"), encodings.decode("latin-1"))
