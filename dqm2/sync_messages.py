"""Responses of DQM² to reads, parsed from JSON within JSON: documents and cluster status.

A response that does not match its request raises Dqm2InvalidResponse. Headers are parsed by
`dqm2/headers.py`. Of a document only its `_id` is checked here; `dqm2/document_parser.py` does the rest.
Shapes: docs/dqm2-protocol.md, "Reading documents".
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from dqm2.errors import Dqm2InvalidResponse, Dqm2ResponseTooLarge

ResponseBody = bytes | bytearray
Document = Mapping[str, object]

# Host names, as opposed to the error text that DQM² may send in their place.
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
# Ten times the size of any cluster of the online DQM.
_MAX_MACHINES = 200
# Memory of parsed values, of the 0.75 GB that a grabber has in Kubernetes: of a number or a short text in a
# list, and what an object or a list takes beyond that. A byte takes at most `_MAX_EXPANSION`.
_MAX_PARSED_BYTES = 256 * 1024 * 1024
_VALUE_BYTES = 64
_CONTAINER_BYTES = 200
_MAX_EXPANSION = 32
# A character beyond 16 bits, as it is or escaped, makes each of its text take four bytes. A text is in a
# message, which is a text as well.
_WIDE_CHARACTER = re.compile(rb"[\xf0-\xf4]|\\u[dD][89abAB]")
_WIDE_TEXT_BYTES = 8
# White space may precede a page.
_HTML_BEGINS_WITHIN = 100
NO_MESSAGES = "the response has no list of messages"


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


def parse_documents(body: ResponseBody, requested_ids: Collection[str]) -> dict[str, Document]:
    """Documents of the response to a `request_documents`, by `_id`; deleted ones are missing.

    An invalid or unrequested entry invalidates the whole response: it may replace a requested document, which
    would then be taken for deleted. So does a response without messages: DQM² sends one even if all are gone.
    """
    _check_memory(body)
    documents: dict[str, Document] = {}
    for message in _messages(body, "update_documents"):
        for entry in message_entries(message, "documents"):
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


def parse_message(text: object, event: str) -> Mapping[str, object]:
    """A message, which must be of the expected event. Raises Dqm2InvalidResponse."""
    message = parse_json(text) if isinstance(text, str) else None
    if not isinstance(message, dict) or message.get("event") != event:
        raise Dqm2InvalidResponse(f"a message of the response is not an {event}")
    return message


def message_entries(message: Mapping[str, object], field: str) -> Sequence[object]:
    """The list in a field of a message. Raises Dqm2InvalidResponse."""
    entries = message.get(field)
    if not isinstance(entries, list):
        raise Dqm2InvalidResponse(f"a message of the response has no list of {field}")
    return entries


def parse_json(text: ResponseBody | str) -> Any:
    """JSON as Python writes it: NaN, Infinity and lone surrogates are accepted."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        pass
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise not_json(text) from error


def not_json(text: ResponseBody | str) -> Dqm2InvalidResponse:
    """Error for a response, or its beginning, that is not JSON."""
    if text[:_HTML_BEGINS_WITHIN].lstrip()[:1] in ("<", b"<"):
        return Dqm2InvalidResponse("the response is an HTML page, perhaps to sign in, and not JSON")
    return Dqm2InvalidResponse("the response is not JSON")


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


def _check_memory(body: ResponseBody) -> None:
    """Raise Dqm2ResponseTooLarge for a response that takes too much memory once it is parsed.

    An object takes thirty times its length. The count is that of the texts in it as well, so that it is high.
    """
    if len(body) * _MAX_EXPANSION <= _MAX_PARSED_BYTES:
        return
    values, containers = body.count(b","), body.count(b"{") + body.count(b"[")
    text_bytes = _WIDE_TEXT_BYTES * len(body) if _WIDE_CHARACTER.search(body) else 0
    if _VALUE_BYTES * values + _CONTAINER_BYTES * containers + text_bytes > _MAX_PARSED_BYTES:
        limit = f"{_MAX_PARSED_BYTES // 1024**2} MB"
        raise Dqm2ResponseTooLarge(f"the response would take more than {limit} of memory")


def _messages(body: ResponseBody, event: str) -> Iterator[Mapping[str, object]]:
    """Messages of a response, at least one, all of which must be of the expected event."""
    envelope = parse_json(body)
    messages = envelope.get("messages") if isinstance(envelope, dict) else None
    if not isinstance(messages, list):
        raise Dqm2InvalidResponse(NO_MESSAGES)
    if not messages:
        raise Dqm2InvalidResponse("the response has no message")
    for text in messages:
        yield parse_message(text, event)
