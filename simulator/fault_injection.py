"""The ways in which the simulator can be told to misbehave, one at a time or together, for tests."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class FaultKind(StrEnum):
    """What goes wrong, and what `amount` means for it."""

    # The way to the gateway takes so many seconds more; nobody else waits.
    LATENCY = "latency"
    # The machine takes so many seconds to begin its answer; through the gateway, more than 5 are a 500.
    SILENCE = "silence"
    # The source burns so many milliseconds of CPU a document; 1.3 is the released DQM².
    DOCUMENT_COST = "document-cost"
    # The same for a header; 0.019 is the released DQM².
    HEADER_COST = "header-cost"
    # Header and body leave in two packets, as from the released DQM².
    TWO_PACKETS = "two-packets"
    # The connection is closed before the TLS handshake. Knows no machine.
    REFUSED = "refused"
    # The connection is closed in place of an answer.
    CUT = "cut"
    # The connection is closed after so many bytes of the body (0: half of it).
    CUT_BODY = "cut-body"
    # The body ends after so many bytes (0: half of it), and is sent as if that were all.
    TRUNCATED = "truncated"
    # 200 and no body.
    EMPTY = "empty"
    # 200 and bytes that are nothing.
    GARBAGE = "garbage"
    # 500 and an HTML page.
    ERROR_PAGE = "error-page"
    # 303 to CMSWEB, as after a wrong cookie.
    LOGIN_REDIRECT = "login-redirect"
    # 200 and an HTML page, as a client that follows redirects sees it.
    LOGIN_PAGE = "login-page"
    # JSON, but a value at one place has another type: place number `amount` of WRONG_TYPES.
    WRONG_TYPES = "wrong-types"
    # Documents in the place of headers, headers in the place of documents.
    OTHER_ANSWER = "other-answer"
    # NaN and Infinity among the documents' numbers.
    NOT_A_NUMBER = "nan"
    # Halves of surrogate pairs in the documents' texts.
    LONE_SURROGATES = "lone-surrogates"


class AskKind(StrEnum):
    """What a request is for."""

    HEADERS = "headers"
    DOCUMENTS = "documents"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to misbehave: for one machine or for all, for one kind of request or for all.

    `requests`: how many requests it meets before it is over; `None`: until it is cleared.
    """

    kind: FaultKind
    amount: float = 0.0
    machine: str | None = None
    ask: AskKind | None = None
    requests: int | None = None

    def meets(self, machine: str | None, asks: Iterable[AskKind]) -> bool:
        """Whether a request to a machine that asks for these things meets this fault."""
        return self.machine in (None, machine) and (self.ask is None or self.ask in asks)


class Faults:
    """The faults that are set. May be changed from any thread while the simulator serves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set: list[Fault] = []

    def add(
        self,
        kind: FaultKind | str,
        amount: float = 0.0,
        *,
        machine: str | None = None,
        ask: AskKind | str | None = None,
        requests: int | None = None,
    ) -> None:
        """Sets a fault; a later one of a kind goes before an earlier one.

        Raises ValueError for a kind or an ask that doesn't exist.
        """
        fault = Fault(FaultKind(kind), amount, machine, AskKind(ask) if ask else None, requests)
        with self._lock:
            self._set.append(fault)

    def clear(self, kind: FaultKind | str | None = None, *, machine: str | None = None) -> None:
        """Takes faults away: all of them, those of a kind, those of a machine."""
        only = FaultKind(kind) if kind else None
        with self._lock:
            self._set = [
                fault
                for fault in self._set
                if (only and fault.kind is not only) or (machine and fault.machine != machine)
            ]

    def active(self) -> tuple[Fault, ...]:
        """The faults that are set now."""
        with self._lock:
            return tuple(self._set)

    def take(self, machine: str | None, asks: Iterable[AskKind]) -> Mapping[FaultKind, float]:
        """The faults that a request meets, and their amounts; each has one request less to go."""
        asked = frozenset(asks)
        return self._take(lambda fault: fault.kind is not FaultKind.REFUSED and fault.meets(machine, asked))

    def takes_connection(self) -> bool:
        """Whether a new connection is to be refused."""
        return bool(self._take(lambda fault: fault.kind is FaultKind.REFUSED))

    def _take(self, meets: Callable[[Fault], bool]) -> Mapping[FaultKind, float]:
        met: dict[FaultKind, Fault] = {}
        with self._lock:
            for fault in self._set:
                if meets(fault):
                    met[fault.kind] = fault
            self._set = [left for fault in self._set if (left := _after(fault, met)) is not None]
        return {kind: fault.amount for kind, fault in met.items()}


def _after(fault: Fault, met: Mapping[FaultKind, Fault]) -> Fault | None:
    """What is left of a fault after a request that met some."""
    if fault.requests is None or met.get(fault.kind) is not fault:
        return fault
    return replace(fault, requests=fault.requests - 1) if fault.requests > 1 else None
