"""Responses of DQM² to reads: headers, documents and cluster status, parsed from JSON within JSON.

A response that does not match its request raises Dqm2InvalidResponse. Of a document only its `_id` is checked
here; `dqm2/document_parser.py` does the rest. Shapes: docs/dqm2-protocol.md, "Reading documents".
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from ijson import JSONError, sendable_list  # type: ignore[import-untyped]
from ijson.backends import yajl2_c  # type: ignore[import-untyped]

from dqm2.errors import Dqm2InvalidResponse, Dqm2ResponseTooLarge
from dqm2.records import DocumentType

ResponseBody = bytes | bytearray
Document = Mapping[str, object]

# Host names, as opposed to the error text that DQM² may send in their place.
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
# They take a grabber 0.3 GB, of the 0.75 GB that it has in Kubernetes.
MAX_HEADERS = 1_200_000
# Ten times the size of any cluster of the online DQM.
_MAX_MACHINES = 200
INVALID_TYPE = ""
_NO_MESSAGES = "the response has no list of messages"
# One string object per type, shared by its many headers.
_TYPES = {document_type.value: document_type.value for document_type in DocumentType}


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a document. `type` is INVALID_TYPE if it is not a text; the document may have a valid one."""

    id: str
    revision: int
    type: str | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Headers:
    """Headers ascending by revision, and how many of those that DQM² counted are missing or invalid."""

    headers: Sequence[Header]
    missing_or_invalid: int


@dataclass(frozen=True, slots=True)
class MachineReachability:
    """Whether the gateway reaches a machine (full name); `reason` is not redacted."""

    name: str
    is_up: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """Reachability of a cluster's machines, and the entries that are something else."""

    machines: Sequence[MachineReachability]
    invalid_entries: Sequence[str]


def parse_headers(chunks: Iterable[bytes]) -> Headers:
    """Headers of the response to a `sync_request`, which is parsed as it arrives: it may be of any length.

    A chunk may take a hundred times its size while it is parsed. `total_sent` counts up over the messages and
    reveals a lost one. `total_avail` is not compared: whatever is missing at the end is part of the next
    request. Raises Dqm2ResponseTooLarge for more than MAX_HEADERS.
    """
    headers: list[Header] = []
    entries = total_sent = 0
    for text in _message_texts(chunks):
        message = _message(text, "update_headers")
        for entry in _entries(message, "headers"):
            entries += 1
            if (header := _header(entry)) is not None:
                headers.append(header)
        if entries > MAX_HEADERS:
            raise Dqm2ResponseTooLarge(f"the response has more than {MAX_HEADERS} headers")
        total_sent = max(total_sent, _revision(message.get("total_sent")) or 0)
    headers.sort(key=lambda header: header.revision)
    return Headers(headers, max(entries, total_sent) - len(headers))


def parse_documents(body: ResponseBody, requested_ids: Collection[str]) -> dict[str, Document]:
    """Documents of the response to a `request_documents`, by `_id`; deleted ones are missing.

    An invalid or unrequested entry invalidates the whole response: it may replace a requested document, which
    would then be taken for deleted. So does a response without messages: DQM² sends one even if all are gone.
    """
    documents: dict[str, Document] = {}
    for message in _messages(body, "update_documents"):
        for entry in _entries(message, "documents"):
            document_id = entry.get("_id") if isinstance(entry, dict) else None
            if not isinstance(entry, dict) or not isinstance(document_id, str):
                raise Dqm2InvalidResponse("an entry of the response is not a document")
            if document_id not in requested_ids:
                raise Dqm2InvalidResponse("the response has a document that was not requested")
            documents[document_id] = entry
    return documents


def parse_cluster_status(body: ResponseBody) -> ClusterStatus:
    """Response to `get_cluster_status`; an invalid entry does not affect the others."""
    status = parse_json(body)
    if not isinstance(status, dict):
        raise Dqm2InvalidResponse("the cluster status is not an object")
    if len(status) > _MAX_MACHINES:
        raise Dqm2InvalidResponse(
            f"the cluster status lists {len(status)} machines, more than {_MAX_MACHINES}"
        )
    parsed = {name: _reachability(name, state) for name, state in status.items()}
    machines = tuple(machine for machine in parsed.values() if machine is not None)
    if not machines:
        raise Dqm2InvalidResponse("the cluster status lists no machine")
    invalid_entries = tuple(
        f"{name}: {as_text(status[name])}" for name, machine in parsed.items() if machine is None
    )
    return ClusterStatus(machines, invalid_entries)


def parse_json(text: ResponseBody | str) -> Any:
    """JSON as Python writes it: NaN, Infinity and lone surrogates are accepted."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        pass
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise Dqm2InvalidResponse("the response is not JSON") from error


def as_text(value: object) -> str:
    """A JSON value for display: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value)
    except RecursionError:
        return "[nested too deep to be shown]"


def _reachability(name: str, state: object) -> MachineReachability | None:
    match state:
        case {"up": bool() as is_up, **rest} if HOST_NAME.fullmatch(name):
            reason = rest.get("msg")
            return MachineReachability(name, is_up, reason) if isinstance(reason, str | None) else None
    return None


def _message_texts(chunks: Iterable[bytes]) -> Iterator[str]:
    """The messages of a response, each as soon as it has arrived."""
    events = sendable_list()
    parser = yajl2_c.basic_parse_coro(events)
    envelope = _Envelope()
    try:
        for chunk in chunks:
            parser.send(chunk)
            for event, value in events:
                if (text := envelope.message(event, value)) is not None:
                    yield text
            events.clear()
        parser.close()
    except JSONError as error:
        raise Dqm2InvalidResponse("the response is not JSON") from error
    if not envelope.has_messages:
        raise Dqm2InvalidResponse(_NO_MESSAGES)


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


def _messages(body: ResponseBody, event: str) -> Iterator[Mapping[str, object]]:
    """Messages of a response, at least one, all of which must be of the expected event."""
    envelope = parse_json(body)
    messages = envelope.get("messages") if isinstance(envelope, dict) else None
    if not isinstance(messages, list):
        raise Dqm2InvalidResponse(_NO_MESSAGES)
    if not messages:
        raise Dqm2InvalidResponse("the response has no message")
    for text in messages:
        yield _message(text, event)


def _message(text: object, event: str) -> Mapping[str, object]:
    message = parse_json(text) if isinstance(text, str) else None
    if not isinstance(message, dict) or message.get("event") != event:
        raise Dqm2InvalidResponse(f"a message of the response is not an {event}")
    return message


def _entries(message: Mapping[str, object], field: str) -> Sequence[object]:
    entries = message.get(field)
    if not isinstance(entries, list):
        raise Dqm2InvalidResponse(f"a message of the response has no list of {field}")
    return entries


def _header(entry: object) -> Header | None:
    if not isinstance(entry, dict):
        return None
    document_id, revision, document_type = entry.get("_id"), _revision(entry.get("_rev")), entry.get("type")
    if not isinstance(document_id, str) or revision is None:
        return None
    if not isinstance(document_type, str | None):
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
