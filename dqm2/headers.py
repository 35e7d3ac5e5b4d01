"""Headers of documents: the response to a `sync_request`, parsed as it arrives.

Shapes: docs/dqm2-protocol.md, "Reading documents".
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from sys import getsizeof

from ijson import JSONError, sendable_list  # type: ignore[import-untyped]
from ijson.backends import yajl2_c  # type: ignore[import-untyped]

from dqm2.errors import Dqm2InvalidResponse, Dqm2ResponseTooLarge
from dqm2.records import DocumentType
from dqm2.sync_messages import NO_MESSAGES, message_entries, not_json, parse_message

# They take a grabber 0.3 GB, of the 0.75 GB that it has in Kubernetes.
MAX_HEADERS = 1_200_000
# Of up to 1000 headers, which take 0.25 MB.
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# Memory of an id: 251 ASCII characters, or 56 if one is an emoji. Those of DQM² have some 60. MAX_HEADERS of
# the longest take 0.5 GB.
_MAX_ID_BYTES = 300
_MAX_TYPE_LENGTH = 32
INVALID_TYPE = ""
# One string object per type, shared by its many headers.
_TYPES = {document_type.value: document_type.value for document_type in DocumentType}


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a document.

    `type` is INVALID_TYPE if it is not a text, or too long; the document itself may have a valid one.
    """

    id: str
    revision: int
    type: str | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Headers:
    """Headers ascending by revision, and how many of those that DQM² counted are missing or invalid."""

    headers: Sequence[Header]
    missing_or_invalid: int


def parse_headers(chunks: Iterable[bytes]) -> Headers:
    """Headers of the response to a `sync_request`, which is parsed as it arrives: it may be of any length.

    A chunk may take a hundred times its size while it is parsed. `total_sent` counts up over the messages and
    reveals a lost one. `total_avail` is not compared: whatever is missing at the end is part of the next
    request. Raises Dqm2ResponseTooLarge for more than MAX_HEADERS, and for too long a message.
    """
    headers: list[Header] = []
    entries = total_sent = 0
    for text in _message_texts(chunks):
        message = parse_message(text, "update_headers")
        for entry in message_entries(message, "headers"):
            entries += 1
            if (header := _header(entry)) is not None:
                headers.append(header)
        if entries > MAX_HEADERS:
            raise Dqm2ResponseTooLarge(f"the response has more than {MAX_HEADERS:,} headers")
        total_sent = max(total_sent, _revision(message.get("total_sent")) or 0)
    headers.sort(key=lambda header: header.revision)
    return Headers(headers, max(entries, total_sent) - len(headers))


def _message_texts(chunks: Iterable[bytes]) -> Iterator[str]:
    """The messages of a response, each as soon as it has arrived."""
    events = sendable_list()
    parser = yajl2_c.basic_parse_coro(events)
    envelope = _Envelope()
    message_bytes = 0
    chunk = b""
    try:
        for chunk in chunks:
            parser.send(chunk)
            message_bytes = 0 if events else message_bytes + len(chunk)
            if message_bytes > _MAX_MESSAGE_BYTES:
                raise Dqm2ResponseTooLarge(f"a message is longer than {_MAX_MESSAGE_BYTES} bytes")
            for event, value in events:
                if (text := envelope.message(event, value)) is not None:
                    yield text
            events.clear()
        parser.close()
    except JSONError as error:
        raise not_json(chunk) from error
    if not envelope.has_messages:
        raise Dqm2InvalidResponse(NO_MESSAGES)


class _Envelope:
    """Position in a response that is parsed as it arrives: `{"messages": [text, …]}`."""

    def __init__(self) -> None:
        self.has_messages = False
        self._depth = 0
        self._key: object = None

    def message(self, event: str, value: object) -> str | None:
        """The message that an event of the parser completes. Raises Dqm2InvalidResponse."""
        match self._depth, event, value:
            case 2, "string", str():
                return value
            case (0, "start_map", _) | (2, "end_array", _):
                self._depth = 1
            case 1, "map_key", _:
                self._key = value
            case 1, "start_array", _ if self._key == "messages":
                self.has_messages = True
                self._depth = 2
            case 2, _, _:
                raise Dqm2InvalidResponse("a message of the response is not a text")
            case _, "start_array" | "start_map", _:
                raise Dqm2InvalidResponse("the response has more than a list of messages")
        return None


def _header(entry: object) -> Header | None:
    if not isinstance(entry, dict):
        return None
    document_id, revision, document_type = entry.get("_id"), _revision(entry.get("_rev")), entry.get("type")
    if not isinstance(document_id, str) or getsizeof(document_id) > _MAX_ID_BYTES or revision is None:
        return None
    if not isinstance(document_type, str | None) or len(document_type or "") > _MAX_TYPE_LENGTH:
        document_type = INVALID_TYPE
    return Header(
        id=document_id,
        revision=revision,
        type=None if document_type is None else _TYPES.get(document_type, document_type),
        updated_at=_time(entry.get("timestamp")),
    )


def _revision(value: object) -> int | None:
    """A non-negative 8-byte integer, as a number or as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    return None


def _time(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
