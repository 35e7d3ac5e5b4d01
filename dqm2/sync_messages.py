"""What DQM² answers when it is read, parsed at the door: headers and documents, out of JSON that holds JSON.

What is no answer to the question raises
Dqm2InvalidResponse. All that is known of a document behind this door is
that it is an object and has an `_id` that was asked for. Shapes: protocol, "Reading documents".
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from dqm2.errors import Dqm2InvalidResponse
from dqm2.records import DocumentType

ResponseBody = bytes | bytearray
Document = Mapping[str, object]

# What can be the name of a machine in an answer, where the text of an error may stand instead.
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
# Ten times what any cluster of the online DQM has; what tells of more than that is no status of one.
_MOST_MACHINES = 200
INVALID_TYPE = ""
# One text for the many headers of a type.
_TYPES = {kind.value: kind.value for kind in DocumentType}


@dataclass(frozen=True, slots=True)
class Header:
    """A document as the machine announces it; `type` and `updated_at` can be missing.

    A type that is no text is INVALID_TYPE: only the document itself can tell what it is.
    """

    id: str
    revision: int
    type: str | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Headers:
    """Headers ascending by revision; how many are missing by the answer's own count, or invalid."""

    headers: Sequence[Header]
    missing_or_invalid: int


@dataclass(frozen=True, slots=True)
class MachineReachability:
    """Whether a machine answers, as the gateway sees it; by its full name, the reason as it came."""

    name: str
    is_up: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """Which machines are up; `invalid_entries` is what among it tells of none."""

    machines: Sequence[MachineReachability]
    invalid_entries: Sequence[str]


def parse_headers(answer: ResponseBody) -> Headers:
    """The headers in the answer to a `sync_request`.

    A message that is lost among the others shows by `total_sent` alone, which counts up over them. What an
    answer lacks at its end is asked for next: so `total_avail`, which may count otherwise, says no more.
    """
    headers: list[Header] = []
    entries = total_sent = 0
    for message in _messages(answer, "update_headers"):
        for entry in _entries(message, "headers"):
            entries += 1
            if (header := _header(entry)) is not None:
                headers.append(header)
        total_sent = max(total_sent, _whole(message.get("total_sent")) or 0)
    headers.sort(key=lambda header: header.revision)
    return Headers(headers, max(entries, total_sent) - len(headers))


def parse_documents(answer: ResponseBody, asked: Collection[str]) -> dict[str, Document]:
    """The documents in the answer to a `request_documents`, by `_id`; those that are gone are missing.

    An entry that is no document, or one that was not asked for, spoils the whole answer: it may stand in the
    place of one that was, which must not be taken for gone. So does the lack of any message: where all are
    gone, DQM² says so in one.
    """
    documents: dict[str, Document] = {}
    for message in _messages(answer, "update_documents", least=1):
        for entry in _entries(message, "documents"):
            document_id = entry.get("_id") if isinstance(entry, dict) else None
            if not isinstance(entry, dict) or not isinstance(document_id, str):
                raise Dqm2InvalidResponse("an entry of the answer is no document")
            if document_id not in asked:
                raise Dqm2InvalidResponse("a document of the answer is none that was asked for")
            documents[document_id] = entry
    return documents


def parse_json(text: ResponseBody | str) -> Any:
    """JSON as DQM² writes it: Python's, in which NaN, Infinity and lone surrogates occur."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        pass
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise Dqm2InvalidResponse("the answer is no JSON") from error


def as_text(value: object) -> str:
    """A value out of JSON for people to read: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value)
    except RecursionError:
        return "[nested too deep to be shown]"


def parse_cluster_status(answer: ResponseBody) -> ClusterStatus:
    """The answer to `get_cluster_status`; an entry that is none is kept apart and spoils no other."""
    status = parse_json(answer)
    if not isinstance(status, dict):
        raise Dqm2InvalidResponse("the cluster's status is no object")
    if len(status) > _MOST_MACHINES:
        raise Dqm2InvalidResponse(
            f"the cluster's status tells of {len(status)} machines, {_MOST_MACHINES} is the most"
        )
    found = {machine: _machine_seen(machine, state) for machine, state in status.items()}
    states = tuple(state for state in found.values() if state is not None)
    if not states:
        raise Dqm2InvalidResponse("no machine's status is told")
    invalid_entries = tuple(
        f"{machine}: {as_text(status[machine])}" for machine, state in found.items() if state is None
    )
    return ClusterStatus(states, invalid_entries)


def _machine_seen(machine: str, state: object) -> MachineReachability | None:
    match state:
        case {"up": bool() as is_up, **rest} if HOST_NAME.fullmatch(machine):
            reason = rest.get("msg")
            return MachineReachability(machine, is_up, reason) if isinstance(reason, str | None) else None
    return None


def _messages(answer: ResponseBody, event: str, least: int = 0) -> Iterator[Mapping[str, object]]:
    """The messages of an answer, each of which must be of the event that was asked for.

    Each message is let go of once it is parsed: the texts of 200,000 headers alone are 50 MB.
    """
    envelope = parse_json(answer)
    del answer
    messages = envelope.get("messages") if isinstance(envelope, dict) else None
    if not isinstance(messages, list):
        raise Dqm2InvalidResponse("the answer has no list of messages")
    if len(messages) < least:
        raise Dqm2InvalidResponse("the answer has no message")
    messages.reverse()
    while messages:
        text = messages.pop()
        message = parse_json(text) if isinstance(text, str) else None
        if not isinstance(message, dict) or message.get("event") != event:
            raise Dqm2InvalidResponse(f"a message of the answer is no {event}")
        yield message


def _entries(message: Mapping[str, object], field: str) -> Sequence[object]:
    entries = message.get(field)
    if not isinstance(entries, list):
        raise Dqm2InvalidResponse(f"a message of the answer has no list of {field}")
    return entries


def _header(entry: object) -> Header | None:
    if not isinstance(entry, dict):
        return None
    document_id, revision, kind = entry.get("_id"), _whole(entry.get("_rev")), entry.get("type")
    if not isinstance(document_id, str) or revision is None:
        return None
    if not isinstance(kind, str | None):
        kind = INVALID_TYPE
    return Header(
        id=document_id,
        revision=revision,
        type=None if kind is None else _TYPES.get(kind, kind),
        updated_at=_time(entry.get("timestamp")),
    )


def _whole(value: object) -> int | None:
    """A revision: a whole number that the database can hold, as a number or as text."""
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
