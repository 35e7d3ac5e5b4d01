"""What the faults make of an answer."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from simulator.fault_injection import FaultKind
from simulator.http_types import HTML, Answer, Manner, error_page, failure

# Where the front end sends whoever has no valid cookie.
LOGIN_ADDRESS = "https://cmsweb.cern.ch/"

Faults = Mapping[FaultKind, float]
Envelope = dict[str, Any]
# Changes one value in an answer whose messages were parsed; returns what stands for the whole.
Change = Callable[[Envelope], Any]


def login_redirect() -> Answer:
    """The answer to a wrong cookie."""
    page = error_page(303, "See Other")
    return replace(page, location=LOGIN_ADDRESS)


def _login_page() -> Answer:
    page = (
        b"<!DOCTYPE html>\n<html><head><title>CERN Single Sign-On</title></head><body>Sign in</body></html>\n"
    )
    return Answer(200, page, HTML)


def _garbage() -> Answer:
    return Answer(200, random.Random("garbage").randbytes(4096))  # noqa: S311 - not for secrets


# What these faults answer doesn't depend on what was asked.
_INSTEAD: Mapping[FaultKind, Callable[[], Answer]] = {
    FaultKind.CUT: lambda: Answer(200, b"", manner=Manner.CUT),
    FaultKind.EMPTY: lambda: Answer(200, b""),
    FaultKind.GARBAGE: _garbage,
    FaultKind.ERROR_PAGE: lambda: failure("Internal error"),
    FaultKind.LOGIN_REDIRECT: login_redirect,
    FaultKind.LOGIN_PAGE: _login_page,
}


def instead(faults: Faults) -> Answer | None:
    """The answer that a fault gives in place of the true one, if one does."""
    return next((make() for kind, make in _INSTEAD.items() if kind in faults), None)


def sent(answer: Answer, faults: Faults) -> Answer:
    """The answer as the faults let it out: cut off, or in two packets."""
    half = len(answer.body) // 2
    if FaultKind.TRUNCATED in faults:
        kept = int(faults[FaultKind.TRUNCATED]) or half
        answer = replace(answer, body=answer.body[:kept], manner=Manner.WHOLE)
    if FaultKind.CUT_BODY in faults:
        kept = int(faults[FaultKind.CUT_BODY]) or half
        answer = replace(answer, closes_after=kept, manner=Manner.WHOLE)
    if FaultKind.TWO_PACKETS in faults and answer.manner is Manner.WHOLE:
        answer = replace(answer, manner=Manner.TWO_PACKETS)
    return answer


def changed(body: bytes, faults: Faults) -> bytes:
    """The body of a true answer as the faults change what is in it."""
    if FaultKind.WRONG_TYPES in faults:
        changes = list(WRONG_TYPES.values())
        body = _change(body, changes[int(faults[FaultKind.WRONG_TYPES]) % len(changes)])
    if FaultKind.NOT_A_NUMBER in faults:
        body = _change(body, _spread_not_a_number)
    if FaultKind.LONE_SURROGATES in faults:
        body = _change(body, _spread_lone_surrogates)
    return body


def _change(body: bytes, change: Change) -> bytes:
    envelope = json.loads(body)
    messages = [json.loads(message) for message in envelope["messages"]]
    changed = change({"messages": messages})
    if isinstance(changed, dict) and isinstance(changed.get("messages"), list):
        changed = {
            "messages": [
                json.dumps(message) if isinstance(message, dict | list) else message
                for message in changed["messages"]
            ]
        }
    return json.dumps(changed).encode()


def _in_each(path: str, value: Any) -> Change:
    """Puts a value into every message, header or document, e.g. at `documents.extra`."""

    def change(envelope: Envelope) -> Envelope:
        *to, last = path.split(".")
        places: list[Any] = envelope["messages"]
        for name in to:
            below = [place[name] for place in places if isinstance(place, dict) and name in place]
            places = [item for inner in below for item in (inner if isinstance(inner, list) else [inner])]
        for place in places:
            # Of the messages only those that have it: an answer for headers has no documents.
            if isinstance(place, dict) and (to or last in place):
                place[last] = value
        return envelope

    return change


# Every level of an answer, from the outside in. WRONG_TYPES' `amount` counts in this order.
WRONG_TYPES: Mapping[str, Change] = {
    "the answer is a list": lambda envelope: envelope["messages"],
    "the answer is null": lambda _envelope: None,
    "the answer has no messages": lambda _envelope: {},
    "messages is null": lambda _envelope: {"messages": None},
    "messages is a text": lambda _envelope: {"messages": "[]"},
    "messages is an object": lambda _envelope: {"messages": {"0": "{}"}},
    "a message is a number": lambda _envelope: {"messages": [17]},
    "a message is null": lambda _envelope: {"messages": [None]},
    "a message is no JSON": lambda _envelope: {"messages": ["{"]},
    "a message holds a list": lambda _envelope: {"messages": ["[]"]},
    "a message holds a number": lambda _envelope: {"messages": ["17"]},
    "the event is a list": _in_each("event", ["update_headers"]),
    "headers is null": _in_each("headers", None),
    "headers is an object": _in_each("headers", {"_id": "x", "_rev": 1}),
    "headers is a text": _in_each("headers", "headers"),
    "a header is a number": _in_each("headers", [17]),
    "a header is null": _in_each("headers", [None]),
    "a header is a list": _in_each("headers", [["_id", "x"]]),
    "a header's _id is a number": _in_each("headers._id", 17),
    "a header's _id is null": _in_each("headers._id", None),
    "a header's _rev is a word": _in_each("headers._rev", "seventeen"),
    "a header's _rev is null": _in_each("headers._rev", None),
    "a header's _rev is an object": _in_each("headers._rev", {"rev": 17}),
    "a header's _rev is beyond all bounds": _in_each("headers._rev", 10**40),
    "a header's type is a list": _in_each("headers.type", ["dqm-source-state"]),
    "an answer with documents has no message": lambda envelope: (
        {"messages": []} if _documents(envelope) else envelope
    ),
    "documents is null": _in_each("documents", None),
    "documents is an object": _in_each("documents", {"_id": "x"}),
    "documents is a text": _in_each("documents", "documents"),
    "a document is a number": _in_each("documents", [17]),
    "a document is null": _in_each("documents", [None]),
    "a document is a list": _in_each("documents", [[]]),
    "a document's _id is a number": _in_each("documents._id", 17),
    "a document's _rev is a word": _in_each("documents._rev", "seventeen"),
    "a document's type is an object": _in_each("documents.type", {"dqm": "source-state"}),
    "a document's run is a list": _in_each("documents.run", [358788]),
    "a document's timestamp is an object": _in_each("documents.timestamp", {"at": 0}),
    "a document's tag is a number": _in_each("documents.tag", 17),
    "a document's cmdline is an object": _in_each("documents.cmdline", {"0": "cmsRun"}),
    "a document's exit_code is a list": _in_each("documents.exit_code", [0]),
    "a document's extra is a list": _in_each("documents.extra", []),
    "a document's extra is null": _in_each("documents.extra", None),
    "a document's mem_info is a list": _in_each("documents.extra.mem_info", []),
    "a document's lumi_stats is a text": _in_each("documents.extra.lumi_stats", "{}"),
    "a document's lumi_seen is a number": _in_each("documents.extra.lumi_seen", 17),
    "a document's log is a number": _in_each("documents.extra.stdlog_end", 17),
    "a document's log is a list of objects": _in_each("documents.extra.stdlog_start", [{}]),
    "a document's streams is a list": _in_each("documents.extra.streams", []),
}


def _documents(envelope: Envelope) -> list[dict[str, Any]]:
    return [document for message in envelope["messages"] for document in message.get("documents", [])]


def _spread_not_a_number(envelope: Envelope) -> Envelope:
    for document in _documents(envelope):
        document["events_rate"] = float("nan")
        document.setdefault("extra", {})["unheard_of"] = [float("inf"), float("-inf"), float("nan")]
    return envelope


def _spread_lone_surrogates(envelope: Envelope) -> Envelope:
    for document in _documents(envelope):
        extra = document.setdefault("extra", {})
        extra["unheard_of"] = "\ud83d half of a pair"
        if isinstance(lines := extra.get("stdlog_end"), list):
            extra["stdlog_end"] = [*lines, "the other half \udc00 of another\n"]
    return envelope
