"""`sync_proxy`: headers and documents of a machine (docs/dqm2-protocol.md, "Reading documents")."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.fault_injection import RequestKind
from simulator.machines import DocumentHeader, Machine, StoredDocument

HEADERS_PER_MESSAGE = 1000
# The ids of a request become SQL variables; old servers are limited to this many.
MAX_IDS = 999

_EVENTS = {"sync_request": RequestKind.HEADERS, "request_documents": RequestKind.DOCUMENTS}


class SyncError(Exception):
    """Raised where DQM² raises an unhandled exception, which the client sees as a 500."""


class RelayTimeout(Exception):
    """Raised when a response costs more time than the gateway waits for another machine."""


@dataclass(frozen=True, slots=True)
class SyncMessage:
    """A message of a request for headers or documents."""

    kind: RequestKind
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CpuCosts:
    """CPU time of the server, in ms; less is padded to this."""

    per_header_ms: float = 0.0
    per_document_ms: float = 0.0


def parse(body: bytes) -> tuple[SyncMessage, ...]:
    """The messages of a request, without those of other events.

    Raises SyncError where the server fails: invalid JSON, no messages, a message with invalid JSON.
    """
    try:
        messages = json.loads(body)["messages"]
        contents = [json.loads(message) for message in messages]
        return tuple(
            SyncMessage(_EVENTS[content["event"]], content)
            for content in contents
            if content["event"] in _EVENTS
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SyncError(repr(error)) from error


def response_body(
    machine: Machine, messages: Sequence[SyncMessage], costs: CpuCosts, *, timeout_s: float
) -> bytes:
    """The response to all messages of a request.

    Uses at least the CPU time of `costs`. Raises SyncError where the server fails, and RelayTimeout if the
    costs exceed `timeout_s`. The simulator's own time does not count: a loaded machine makes no difference.
    """
    started_s, cost_ms = time.thread_time(), 0.0
    sent: list[str] = []
    for message in messages:
        if message.kind is RequestKind.HEADERS:
            headers = machine.headers_above(_lower_bound(message.content))
            cost_ms += costs.per_header_ms * len(headers)
            sent += header_messages(headers)
        else:
            documents = machine.find(_ids(message.content))
            cost_ms += costs.per_document_ms * len(documents)
            sent.append(_documents_message(documents))
    _use_cpu(started_s + min(cost_ms / 1000, timeout_s))
    if cost_ms / 1000 > timeout_s:
        raise RelayTimeout
    return f'{{"messages": [{", ".join(sent)}]}}'.encode()


def _lower_bound(content: Mapping[str, Any]) -> int | None:
    """The revision above which headers are sent: one below the known one, which is sent again."""
    known = content.get("known_rev")
    if known is None:
        return None
    try:
        return int(known) - 1
    except (ValueError, TypeError, OverflowError) as error:
        raise SyncError(repr(error)) from error


def _ids(content: Mapping[str, Any]) -> list[Any]:
    ids = content.get("ids")
    if not isinstance(ids, list):
        raise SyncError(f"ids is {type(ids).__name__}")
    if len(ids) > MAX_IDS:
        raise SyncError("OperationalError('too many SQL variables',)")
    return ids


def header_messages(headers: Sequence[DocumentHeader]) -> list[str]:
    """The messages as they are inside the response: JSON strings that contain JSON."""
    total_sent = 0
    messages: list[str] = []
    for start in range(0, len(headers), HEADERS_PER_MESSAGE):
        part = headers[start : start + HEADERS_PER_MESSAGE]
        total_sent += len(part)
        message = {
            "event": "update_headers",
            "rev": [part[0].revision, part[-1].revision],
            "sync_to_rev": headers[-1].revision,
            "total_sent": total_sent,
            "total_avail": len(headers),
            "headers": [header.as_json() for header in part],
        }
        messages.append(json.dumps(json.dumps(message)))
    return messages


def _documents_message(documents: Sequence[StoredDocument]) -> str:
    # JSON escapes each character by itself, so escaped parts join to the escaped whole.
    start = json.dumps('{"event": "update_documents", "documents": [')[:-1]
    return f'{start}{", ".join(stored.escaped_json() for stored in documents)}]}}"'


def _use_cpu(until_s: float) -> None:
    """Use CPU time of this thread, as the released server's JSON and SQL do."""
    while time.thread_time() < until_s:
        pass
