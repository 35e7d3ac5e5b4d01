"""The gateway: its routes, its cookie, and that it does one thing at a time (protocol, "The way in")."""

import hmac
import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from simulator import sync_endpoint
from simulator.control_commands import Control
from simulator.fault_injection import AskKind, FaultKind, Faults
from simulator.http_types import HTML, Answer, Request, error_page, failure
from simulator.machine import Machine
from simulator.misbehaviour import changed, instead, login_redirect, sent
from simulator.topology import Site

BASE_PATH = "/dqm/dqm-square-origin"
COOKIE = "selenium-secret-secret"
PORT = "9215"
# Another machine must begin to answer within this time.
RELAY_TIMEOUT_S = 5.0

Met = Mapping[FaultKind, float]


class Gateway:
    """Answers requests as the gateway's DQM² does. `wait` pauses for seconds unless the simulator ends.

    One lock is held over all of an answer's making, so that whoever comes meanwhile waits.
    """

    def __init__(
        self,
        site: Site,
        faults: Faults,
        control: Control,
        *,
        secret: str,
        wait: Callable[[float], object],
        relay_timeout_s: float = RELAY_TIMEOUT_S,
    ) -> None:
        self._site = site
        self._faults = faults
        self._control = control
        self._secret = secret.encode()
        self._wait = wait
        self._relay_timeout_s = relay_timeout_s
        self._one_at_a_time = threading.Lock()

    def answer(self, request: Request) -> Answer:
        """The answer to a request below the base path; the front end's own if the gateway is dead."""
        if self._site.gateway.is_dead:
            return error_page(503, "Service Unavailable")
        match request.method, request.path.removeprefix(BASE_PATH):
            case "POST", "/sync_proxy":
                return self._read(request, self._site.gateway, self._own_answer)
            case "POST", "/redirect":
                target = self._site.find(request.parameter("path") or "")
                if target is None or request.parameter("port") != PORT:
                    return self._unreachable(request, "gaierror(-2, 'Name or service not known')")
                return self._read(request, target, self._relayed_answer)
            case "GET", "/cr/exe":
                return self._command(request)
            case _, "/sync_proxy" | "/redirect" | "/cr/exe":
                return error_page(405, "Method Not Allowed", "Method not allowed.")
        return error_page(404, "Not Found", f"Not found: {request.path!r}")

    def _read(
        self, request: Request, machine: Machine, answer_by: Callable[[Request, Machine, Met], Answer]
    ) -> Answer:
        met = self._faults.take(machine.name, _kinds(request.body))
        self._wait(met.get(FaultKind.LATENCY, 0.0))
        with self._one_at_a_time:
            if FaultKind.OTHER_ANSWER in met:
                request = replace(request, body=_other_question(request.body, machine))
            answer = answer_by(request, machine, met)
        return sent(answer, met)

    def _own_answer(self, request: Request, machine: Machine, met: Met) -> Answer:
        self._wait(met.get(FaultKind.SILENCE, 0.0))
        return self._machine_answer(request, machine, met, most_s=math.inf)

    def _relayed_answer(self, request: Request, machine: Machine, met: Met) -> Answer:
        """Posts the body on to another machine; 500 if that doesn't begin to answer within 5 s."""
        silence_s = met.get(FaultKind.SILENCE, 0.0)
        # The gateway waits for its own answer, which it can't give while it waits.
        if machine.is_dead or machine is self._site.gateway or silence_s >= self._relay_timeout_s:
            self._wait(self._relay_timeout_s)
            return self._unreachable(request, "timeout('timed out')")
        began_s = time.monotonic()
        self._wait(silence_s)
        answer = self._machine_answer(request, machine, met, most_s=self._relay_timeout_s)
        if time.monotonic() - began_s > self._relay_timeout_s:
            return self._unreachable(request, "timeout('timed out')")
        return replace(answer, content_type=HTML)

    def _unreachable(self, request: Request, reason: str) -> Answer:
        host, port = request.parameter("path"), request.parameter("port")
        return failure(f"URLError({reason}) for http://{host}:{port}/sync_proxy")

    def _machine_answer(self, request: Request, machine: Machine, met: Met, *, most_s: float) -> Answer:
        answer = instead(met)
        if answer is not None:
            return answer
        try:
            asks = sync_endpoint.parse(request.body)
            body = sync_endpoint.answer(machine, asks, sync_endpoint.Costs.of(met), most_s=most_s)
        except sync_endpoint.AskError as error:
            return failure(str(error))
        return Answer(200, changed(body, met))

    def _command(self, request: Request) -> Answer:
        met = self._faults.take(None, [AskKind.CONTROL])
        self._wait(met.get(FaultKind.LATENCY, 0.0))
        with self._one_at_a_time:
            self._wait(met.get(FaultKind.SILENCE, 0.0))
            answer = instead(met) or self._refused(request) or self._control.answer(request)
        return sent(answer, met)

    def _refused(self, request: Request) -> Answer | None:
        """303 for a wrong cookie, 500 for none; the cookie's value ends at the next equals sign."""
        cookies = [part.strip().split("=") for part in (request.header("cookie") or "").split(";")]
        given = next((parts[1] for parts in cookies if parts[0] == COOKIE and len(parts) > 1), None)
        if given is None:
            return failure(f"KeyError('{COOKIE}')")
        return None if hmac.compare_digest(given.encode(), self._secret) else login_redirect()


def _kinds(body: bytes) -> tuple[AskKind, ...]:
    try:
        return tuple(ask.kind for ask in sync_endpoint.parse(body))
    except sync_endpoint.AskError:
        return ()


def _other_question(body: bytes, machine: Machine) -> bytes:
    """What somebody else asked: for documents where headers are wanted, and the other way round."""
    ask: dict[str, Any] = {"event": "sync_request", "known_rev": None}
    if AskKind.HEADERS in _kinds(body):
        ids = [header.document_id for header in machine.headers_above(None)[:5]]
        ask = {"event": "request_documents", "ids": ids}
    return json.dumps({"messages": [json.dumps(ask)]}).encode()
