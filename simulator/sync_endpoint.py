"""`sync_proxy`: how a machine answers for its headers and documents (protocol, "Reading documents")."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.fault_injection import AskKind, FaultKind
from simulator.machine import Header, Machine, Stored

HEADERS_A_MESSAGE = 1000
# The ids of a request become SQL variables, of which an old server takes so many.
MOST_IDS = 999

_EVENTS = {"sync_request": AskKind.HEADERS, "request_documents": AskKind.DOCUMENTS}


class AskError(Exception):
    """The server fails on this request: an exception inside, 500 outside."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One message of a request that matters here."""

    kind: AskKind
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU that the server takes, in milliseconds; what is made faster is made up for."""

    header_ms: float = 0.0
    document_ms: float = 0.0

    @classmethod
    def of(cls, faults: Mapping[FaultKind, float]) -> "Costs":
        """The costs that the faults of a request set."""
        return cls(faults.get(FaultKind.HEADER_COST, 0.0), faults.get(FaultKind.DOCUMENT_COST, 0.0))


def parse(body: bytes) -> tuple[Ask, ...]:
    """The messages of a request, those of other events left out.

    Raises AskError where the server would fail: no JSON, no messages, no JSON in a message.
    """
    try:
        messages = json.loads(body)["messages"]
        contents = [json.loads(message) for message in messages]
        return tuple(
            Ask(_EVENTS[content["event"]], content) for content in contents if content["event"] in _EVENTS
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AskError(repr(error)) from error


def answer(machine: Machine, asks: Sequence[Ask], costs: Costs, *, most_s: float) -> bytes:
    """The body of the answer to all messages of a request.

    CPU is burned for it until `most_s` have passed at most. Raises AskError where the server would fail.
    """
    began_s, deadline_s = time.thread_time(), time.monotonic() + most_s
    cost_ms = 0.0
    messages: list[str] = []
    for ask in asks:
        if ask.kind is AskKind.HEADERS:
            headers = machine.headers_above(_above(ask.content))
            cost_ms += costs.header_ms * len(headers)
            messages += _header_messages(headers)
        else:
            documents = machine.pick(_ids(ask.content))
            cost_ms += costs.document_ms * len(documents)
            messages.append(_documents_message(documents))
    _burn(began_s + cost_ms / 1000, deadline_s)
    return f'{{"messages": [{", ".join(messages)}]}}'.encode()


def _above(content: Mapping[str, Any]) -> int | None:
    """Headers of revisions above this one are asked for: the one that is known comes again."""
    known = content.get("known_rev")
    if known is None:
        return None
    try:
        return int(known) - 1
    except (ValueError, TypeError, OverflowError) as error:
        raise AskError(repr(error)) from error


def _ids(content: Mapping[str, Any]) -> list[Any]:
    ids = content.get("ids")
    if not isinstance(ids, list):
        raise AskError(f"ids is {type(ids).__name__}")
    if len(ids) > MOST_IDS:
        raise AskError("OperationalError('too many SQL variables',)")
    return ids


def _header_messages(headers: Sequence[Header]) -> list[str]:
    """The messages as they stand inside the answer, in JSON within JSON."""
    sent = 0
    messages: list[str] = []
    for start in range(0, len(headers), HEADERS_A_MESSAGE):
        part = headers[start : start + HEADERS_A_MESSAGE]
        sent += len(part)
        message = {
            "event": "update_headers",
            "rev": [part[0].revision, part[-1].revision],
            "sync_to_rev": headers[-1].revision,
            "total_sent": sent,
            "total_avail": len(headers),
            "headers": [header.as_json() for header in part],
        }
        messages.append(json.dumps(json.dumps(message)))
    return messages


def _documents_message(documents: Sequence[Stored]) -> str:
    # JSON escapes character by character, so that escaped parts join to the escaped whole.
    before = json.dumps('{"event": "update_documents", "documents": [')[:-1]
    return f'{before}{", ".join(stored.wire() for stored in documents)}]}}"'


def _burn(until_s: float, deadline_s: float) -> None:
    """Uses up this thread's CPU, as the released server's own JSON and SQL do."""
    while time.thread_time() < until_s and time.monotonic() < deadline_s:
        pass
