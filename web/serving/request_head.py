"""The head of a request as far as it can be told before the request is taken from its connection."""

import re
from dataclasses import dataclass
from typing import Self

# The path as it is, so that it needs no decoding; nothing in a header that somebody could take for its end.
_HEAD = re.compile(rb"GET (/[\w/.~-]*)(?:\?([!-~]*))? HTTP/1\.1\r\n((?:[\w-]+:[\t -~\x80-\xff]*\r\n)*)\r\n")
_TELLING = re.compile(
    rb"^(host|accept-encoding|if-none-match|connection|content-length|transfer-encoding|expect|upgrade):([^\r]*)",
    re.IGNORECASE | re.MULTILINE,
)
# What a request has that goes on behind its head.
_OF_BODY = frozenset((b"content-length", b"transfer-encoding", b"expect", b"upgrade"))


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What chooses an answer: path, query, in which encodings it may come, and which content is known.

    `stays`: whether who asks leaves the connection open.
    """

    path: str
    query: str
    encodings: str
    known: str | None
    stays: bool

    @classmethod
    def of(cls, received: bytes) -> Self | None:
        """The head of what came in; `None` if that is anything but one whole and plain GET."""
        head = _HEAD.fullmatch(received)
        if head is None:
            return None
        path, query, lines = head.groups(b"")
        telling = _TELLING.findall(lines)
        named = {name.lower(): value.strip().decode("latin-1") for name, value in telling}
        if len(named) < len(telling) or not _OF_BODY.isdisjoint(named):
            return None
        return cls(
            path=path.decode("ascii"),
            query=query.decode("ascii"),
            encodings=named.get(b"accept-encoding", ""),
            known=named.get(b"if-none-match"),
            stays=named.get(b"connection", "keep-alive").lower() == "keep-alive",
        )
