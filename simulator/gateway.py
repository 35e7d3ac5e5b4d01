"""The gateway: its routes, its cookie, and its serialized requests (docs/dqm2-protocol.md, "Access")."""

import hmac
import json
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from simulator import sync_endpoint
from simulator.control_commands import ControlCommands
from simulator.fault_injection import (
    ActiveFaults,
    FaultInjector,
    FaultKind,
    RequestKind,
    login_redirect,
    replacement,
    with_content_faults,
    with_transport_faults,
)
from simulator.http_types import HTML, Request, Response, error_page, server_error
from simulator.machines import Machine, Topology
from simulator.sync_endpoint import CpuCosts, RelayTimeout, SyncError

BASE_PATH = "/dqm/dqm-square-origin"
COOKIE_NAME = "selenium-secret-secret"
PORT = "9215"
# Another machine must begin to respond within this time.
RELAY_TIMEOUT_S = 5.0


class Gateway:
    """Responds to requests like the gateway's DQM², one at a time: other requests wait for a lock.

    `wait` sleeps for some seconds, or until the simulator stops.
    """

    def __init__(
        self,
        topology: Topology,
        faults: FaultInjector,
        control: ControlCommands,
        *,
        secret: str,
        wait: Callable[[float], object],
        relay_timeout_s: float = RELAY_TIMEOUT_S,
    ) -> None:
        self._topology = topology
        self._faults = faults
        self._control = control
        self._secret = secret.encode()
        self._wait = wait
        self._relay_timeout_s = relay_timeout_s
        self._lock = threading.Lock()

    def respond(self, request: Request) -> Response:
        """The response to a request below the base path; the front end's own if the gateway is dead."""
        if self._topology.gateway.is_dead:
            return error_page(503, "Service Unavailable")
        match request.method, request.path.removeprefix(BASE_PATH):
            case "POST", "/sync_proxy":
                return self._sync(request, self._topology.gateway, self._own_response)
            case "POST", "/redirect":
                target = self._topology.resolve(request.parameter("path") or "")
                if target is None or request.parameter("port") != PORT:
                    return self._unreachable(request, "gaierror(-2, 'Name or service not known')")
                return self._sync(request, target, self._relayed_response)
            case "GET", "/cr/exe":
                return self._control_response(request)
            case _, "/sync_proxy" | "/redirect" | "/cr/exe":
                return error_page(405, "Method Not Allowed", "Method not allowed.")
        return error_page(404, "Not Found", f"Not found: {request.path!r}")

    def _sync(
        self,
        request: Request,
        machine: Machine,
        respond: Callable[[Request, Machine, ActiveFaults], Response],
    ) -> Response:
        faults = self._faults.take(machine.name, _request_kinds(request.body))
        self._wait(faults.get(FaultKind.LATENCY, 0.0))
        with self._lock:
            if FaultKind.WRONG_RESPONSE in faults:
                request = replace(request, body=_other_request(request.body, machine))
            response = respond(request, machine, faults)
        return with_transport_faults(response, faults)

    def _own_response(self, request: Request, machine: Machine, faults: ActiveFaults) -> Response:
        self._wait(faults.get(FaultKind.RESPONSE_DELAY, 0.0))
        return _machine_response(request, machine, faults, timeout_s=math.inf)

    def _relayed_response(self, request: Request, machine: Machine, faults: ActiveFaults) -> Response:
        """The response of another machine; 500 if it doesn't begin to respond in time."""
        delay_s = faults.get(FaultKind.RESPONSE_DELAY, 0.0)
        # The gateway relaying to itself waits for a response that it can't give while it waits.
        if machine.is_dead or machine is self._topology.gateway or delay_s >= self._relay_timeout_s:
            self._wait(self._relay_timeout_s)
            return self._unreachable(request, "timeout('timed out')")
        self._wait(delay_s)
        try:
            response = _machine_response(request, machine, faults, timeout_s=self._relay_timeout_s - delay_s)
        except RelayTimeout:
            return self._unreachable(request, "timeout('timed out')")
        return replace(response, content_type=HTML)

    def _unreachable(self, request: Request, reason: str) -> Response:
        host, port = request.parameter("path"), request.parameter("port")
        return server_error(f"URLError({reason}) for http://{host}:{port}/sync_proxy")

    def _control_response(self, request: Request) -> Response:
        faults = self._faults.take(None, [RequestKind.CONTROL])
        self._wait(faults.get(FaultKind.LATENCY, 0.0))
        with self._lock:
            self._wait(faults.get(FaultKind.RESPONSE_DELAY, 0.0))
            response = replacement(faults) or self._rejection(request) or self._control.respond(request)
        return with_transport_faults(response, faults)

    def _rejection(self, request: Request) -> Response | None:
        """303 for a wrong cookie, 500 for none; DQM² cuts the cookie's value at the next equals sign."""
        cookies = [part.strip().split("=") for part in (request.header("cookie") or "").split(";")]
        given = next((parts[1] for parts in cookies if parts[0] == COOKIE_NAME and len(parts) > 1), None)
        if given is None:
            return server_error(f"KeyError('{COOKIE_NAME}')")
        return None if hmac.compare_digest(given.encode(), self._secret) else login_redirect()


def _machine_response(
    request: Request, machine: Machine, faults: ActiveFaults, *, timeout_s: float
) -> Response:
    if (response := replacement(faults)) is not None:
        return response
    costs = CpuCosts(faults.get(FaultKind.HEADER_COST, 0.0), faults.get(FaultKind.DOCUMENT_COST, 0.0))
    try:
        messages = sync_endpoint.parse(request.body)
        body = sync_endpoint.response_body(machine, messages, costs, timeout_s=timeout_s)
    except SyncError as error:
        return server_error(str(error))
    return Response(200, with_content_faults(body, faults))


def _request_kinds(body: bytes) -> tuple[RequestKind, ...]:
    try:
        return tuple(message.kind for message in sync_endpoint.parse(body))
    except SyncError:
        return ()


def _other_request(body: bytes, machine: Machine) -> bytes:
    """A request for documents instead of headers, or for headers instead of documents."""
    message: dict[str, Any] = {"event": "sync_request", "known_rev": None}
    if RequestKind.HEADERS in _request_kinds(body):
        ids = [header.document_id for header in machine.headers_above(None)[:5]]
        message = {"event": "request_documents", "ids": ids}
    return json.dumps({"messages": [json.dumps(message)]}).encode()
