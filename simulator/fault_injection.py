"""Fault injection: the faults that tests can switch on, and their effect on responses."""

import json
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from simulator.http_types import HTML, Response, SendMode, error_page, server_error

# Target of the front end's redirect for a request without a valid cookie.
LOGIN_URL = "https://cmsweb.cern.ch/"


class FaultKind(StrEnum):
    """Kinds of fault; the comments give the meaning of `amount`."""

    # Extra seconds on the network path to the gateway; other requests are not delayed.
    LATENCY = "latency"
    # Seconds until the machine begins to respond; through the gateway, more than 5 give a 500.
    RESPONSE_DELAY = "response-delay"
    # CPU time per document, in ms; 1.3 for the released DQM².
    DOCUMENT_COST = "document-cost"
    # CPU time per header, in ms; 0.019 for the released DQM².
    HEADER_COST = "header-cost"
    # Header and body are sent in two packets, as by the released DQM².
    TWO_PACKETS = "two-packets"
    # The connection is closed before the TLS handshake, whatever the machine.
    CONNECTION_REFUSED = "connection-refused"
    # The connection is closed without a response.
    CONNECTION_CLOSED = "connection-closed"
    # The connection is closed after this many bytes of the body (0: half of it).
    BODY_INTERRUPTED = "body-interrupted"
    # The body ends after this many bytes (0: half of it), with a matching Content-Length.
    BODY_TRUNCATED = "body-truncated"
    # 200 with an empty body.
    EMPTY_BODY = "empty-body"
    # 200 with random bytes.
    GARBAGE = "garbage"
    # 500 with an HTML page.
    ERROR_PAGE = "error-page"
    # 303 to CMSWEB, as for a wrong cookie.
    LOGIN_REDIRECT = "login-redirect"
    # 200 with an HTML page, as seen by a client that follows redirects.
    LOGIN_PAGE = "login-page"
    # Valid JSON in which one value has the wrong type: entry number `amount` of WRONG_TYPES.
    WRONG_TYPES = "wrong-types"
    # Documents instead of headers, headers instead of documents.
    WRONG_RESPONSE = "wrong-response"
    # NaN and Infinity among the documents' numbers.
    NAN = "nan"
    # Unpaired surrogates in the documents' strings.
    LONE_SURROGATES = "lone-surrogates"


# The faults that apply to a request, with their amounts.
ActiveFaults = Mapping[FaultKind, float]


class RequestKind(StrEnum):
    """The purpose of a request."""

    HEADERS = "headers"
    DOCUMENTS = "documents"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault for one machine or all (`None`), and for one kind of request or all (`None`).

    `times`: number of requests that it still applies to; `None`: until it is cleared.
    """

    kind: FaultKind
    amount: float = 0.0
    machine: str | None = None
    request_kind: RequestKind | None = None
    times: int | None = None

    def matches(self, machine: str | None, kinds: Iterable[RequestKind]) -> bool:
        """Whether the fault applies to a request of these kinds to a machine."""
        return self.machine in (None, machine) and (self.request_kind is None or self.request_kind in kinds)


class FaultInjector:
    """The faults that are switched on. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(
        self,
        kind: FaultKind | str,
        amount: float = 0.0,
        *,
        machine: str | None = None,
        request_kind: RequestKind | str | None = None,
        times: int | None = None,
    ) -> None:
        """Switch on a fault; it takes precedence over earlier ones of its kind.

        Raises ValueError for an unknown kind of fault or request.
        """
        requested = RequestKind(request_kind) if request_kind else None
        fault = Fault(FaultKind(kind), amount, machine, requested, times)
        with self._lock:
            self._faults.append(fault)

    def clear(self, kind: FaultKind | str | None = None, *, machine: str | None = None) -> None:
        """Remove all faults, or those of a kind or a machine."""
        only = FaultKind(kind) if kind else None
        with self._lock:
            self._faults = [
                fault
                for fault in self._faults
                if (only and fault.kind is not only) or (machine and fault.machine != machine)
            ]

    def active(self) -> tuple[Fault, ...]:
        """The faults that are switched on."""
        with self._lock:
            return tuple(self._faults)

    def take(self, machine: str | None, kinds: Iterable[RequestKind]) -> ActiveFaults:
        """The faults that apply to a request; counts the request against each."""
        requested = frozenset(kinds)
        return self._take(
            lambda fault: fault.kind is not FaultKind.CONNECTION_REFUSED and fault.matches(machine, requested)
        )

    def refuses_connection(self) -> bool:
        """Whether to refuse a new connection; counts it against the fault."""
        return bool(self._take(lambda fault: fault.kind is FaultKind.CONNECTION_REFUSED))

    def _take(self, matches: Callable[[Fault], bool]) -> ActiveFaults:
        with self._lock:
            taken = {fault.kind: fault for fault in self._faults if matches(fault)}
            self._faults = [left for fault in self._faults if (left := _remaining(fault, taken)) is not None]
        return {kind: fault.amount for kind, fault in taken.items()}


def _remaining(fault: Fault, taken: Mapping[FaultKind, Fault]) -> Fault | None:
    """The fault with one request fewer if it was taken, `None` if that was its last one."""
    if fault.times is None or taken.get(fault.kind) is not fault:
        return fault
    return replace(fault, times=fault.times - 1) if fault.times > 1 else None


def login_redirect() -> Response:
    """The response to a wrong cookie."""
    return replace(error_page(303, "See Other"), location=LOGIN_URL)


def replacement(faults: ActiveFaults) -> Response | None:
    """The response that a fault gives instead of the true one, `None` without such a fault."""
    return next((make() for kind, make in _REPLACEMENTS.items() if kind in faults), None)


def with_transport_faults(response: Response, faults: ActiveFaults) -> Response:
    """The response truncated, interrupted or split into two packets."""
    half = len(response.body) // 2
    if FaultKind.BODY_TRUNCATED in faults:
        sent = int(faults[FaultKind.BODY_TRUNCATED]) or half
        response = replace(response, body=response.body[:sent], send_mode=SendMode.NORMAL)
    if FaultKind.BODY_INTERRUPTED in faults:
        sent = int(faults[FaultKind.BODY_INTERRUPTED]) or half
        response = replace(response, close_after_bytes=sent, send_mode=SendMode.NORMAL)
    if FaultKind.TWO_PACKETS in faults and response.send_mode is SendMode.NORMAL:
        response = replace(response, send_mode=SendMode.TWO_PACKETS)
    return response


def with_content_faults(body: bytes, faults: ActiveFaults) -> bytes:
    """The body of a `sync_proxy` response with wrong types, NaN or lone surrogates in it."""
    if FaultKind.WRONG_TYPES in faults:
        changes = list(WRONG_TYPES.values())
        body = _changed(body, changes[int(faults[FaultKind.WRONG_TYPES]) % len(changes)])
    if FaultKind.NAN in faults:
        body = _changed(body, _add_nan)
    if FaultKind.LONE_SURROGATES in faults:
        body = _changed(body, _add_lone_surrogates)
    return body


def _login_page() -> Response:
    page = (
        b"<!DOCTYPE html>\n<html><head><title>CERN Single Sign-On</title></head><body>Sign in</body></html>\n"
    )
    return Response(200, page, HTML)


def _garbage() -> Response:
    return Response(200, random.Random("garbage").randbytes(4096))  # noqa: S311 - not for secrets


_REPLACEMENTS: Mapping[FaultKind, Callable[[], Response]] = {
    FaultKind.CONNECTION_CLOSED: lambda: Response(200, b"", send_mode=SendMode.CLOSE),
    FaultKind.EMPTY_BODY: lambda: Response(200, b""),
    FaultKind.GARBAGE: _garbage,
    FaultKind.ERROR_PAGE: lambda: server_error("Internal error"),
    FaultKind.LOGIN_REDIRECT: login_redirect,
    FaultKind.LOGIN_PAGE: _login_page,
}

Envelope = dict[str, Any]
# Changes a response whose messages are parsed and returns its replacement.
Change = Callable[[Envelope], Any]


def _changed(body: bytes, change: Change) -> bytes:
    messages = [json.loads(message) for message in json.loads(body)["messages"]]
    changed = change({"messages": messages})
    if isinstance(changed, dict) and isinstance(changed.get("messages"), list):
        changed = {
            "messages": [
                json.dumps(message) if isinstance(message, dict | list) else message
                for message in changed["messages"]
            ]
        }
    return json.dumps(changed).encode()


def _set_in_each(path: str, value: Any) -> Change:
    """Set a value in every message, header or document, e.g. at `documents.extra`."""

    def change(envelope: Envelope) -> Envelope:
        *parents, last = path.split(".")
        targets: list[Any] = envelope["messages"]
        for name in parents:
            children = [target[name] for target in targets if isinstance(target, dict) and name in target]
            targets = [item for child in children for item in (child if isinstance(child, list) else [child])]
        for target in targets:
            # Only messages that have the field: a response with headers has no documents.
            if isinstance(target, dict) and (parents or last in target):
                target[last] = value
        return envelope

    return change


# Every level of a response, from the outside in. The fault's `amount` is an index into this table.
WRONG_TYPES: Mapping[str, Change] = {
    "the response is a list": lambda envelope: envelope["messages"],
    "the response is null": lambda _envelope: None,
    "the response has no messages": lambda _envelope: {},
    "messages is null": lambda _envelope: {"messages": None},
    "messages is a string": lambda _envelope: {"messages": "[]"},
    "messages is an object": lambda _envelope: {"messages": {"0": "{}"}},
    "a message is a number": lambda _envelope: {"messages": [17]},
    "a message is null": lambda _envelope: {"messages": [None]},
    "a message is not JSON": lambda _envelope: {"messages": ["{"]},
    "a message holds a list": lambda _envelope: {"messages": ["[]"]},
    "a message holds a number": lambda _envelope: {"messages": ["17"]},
    "the event is a list": _set_in_each("event", ["update_headers"]),
    "headers is null": _set_in_each("headers", None),
    "headers is an object": _set_in_each("headers", {"_id": "x", "_rev": 1}),
    "headers is a string": _set_in_each("headers", "headers"),
    "a header is a number": _set_in_each("headers", [17]),
    "a header is null": _set_in_each("headers", [None]),
    "a header is a list": _set_in_each("headers", [["_id", "x"]]),
    "a header's _id is a number": _set_in_each("headers._id", 17),
    "a header's _id is null": _set_in_each("headers._id", None),
    "a header's _rev is a word": _set_in_each("headers._rev", "seventeen"),
    "a header's _rev is null": _set_in_each("headers._rev", None),
    "a header's _rev is an object": _set_in_each("headers._rev", {"rev": 17}),
    "a header's _rev is out of range": _set_in_each("headers._rev", 10**40),
    "a header's type is a list": _set_in_each("headers.type", ["dqm-source-state"]),
    "a response with documents has no message": lambda envelope: (
        {"messages": []} if _documents(envelope) else envelope
    ),
    "documents is null": _set_in_each("documents", None),
    "documents is an object": _set_in_each("documents", {"_id": "x"}),
    "documents is a string": _set_in_each("documents", "documents"),
    "a document is a number": _set_in_each("documents", [17]),
    "a document is null": _set_in_each("documents", [None]),
    "a document is a list": _set_in_each("documents", [[]]),
    "a document's _id is a number": _set_in_each("documents._id", 17),
    "a document's _rev is a word": _set_in_each("documents._rev", "seventeen"),
    "a document's type is an object": _set_in_each("documents.type", {"dqm": "source-state"}),
    "a document's run is a list": _set_in_each("documents.run", [358788]),
    "a document's timestamp is an object": _set_in_each("documents.timestamp", {"at": 0}),
    "a document's tag is a number": _set_in_each("documents.tag", 17),
    "a document's cmdline is an object": _set_in_each("documents.cmdline", {"0": "cmsRun"}),
    "a document's exit_code is a list": _set_in_each("documents.exit_code", [0]),
    "a document's extra is a list": _set_in_each("documents.extra", []),
    "a document's extra is null": _set_in_each("documents.extra", None),
    "a document's mem_info is a list": _set_in_each("documents.extra.mem_info", []),
    "a document's lumi_stats is a string": _set_in_each("documents.extra.lumi_stats", "{}"),
    "a document's lumi_seen is a number": _set_in_each("documents.extra.lumi_seen", 17),
    "a document's log is a number": _set_in_each("documents.extra.stdlog_end", 17),
    "a document's log is a list of objects": _set_in_each("documents.extra.stdlog_start", [{}]),
    "a document's streams is a list": _set_in_each("documents.extra.streams", []),
}


def _documents(envelope: Envelope) -> list[dict[str, Any]]:
    return [document for message in envelope["messages"] for document in message.get("documents", [])]


def _add_nan(envelope: Envelope) -> Envelope:
    for document in _documents(envelope):
        document["events_rate"] = float("nan")
        document.setdefault("extra", {})["unknown_field"] = [float("inf"), float("-inf"), float("nan")]
    return envelope


def _add_lone_surrogates(envelope: Envelope) -> Envelope:
    for document in _documents(envelope):
        extra = document.setdefault("extra", {})
        extra["unknown_field"] = "\ud83d half of a pair"
        if isinstance(lines := extra.get("stdlog_end"), list):
            extra["stdlog_end"] = [*lines, "the other half \udc00 of another\n"]
    return envelope
