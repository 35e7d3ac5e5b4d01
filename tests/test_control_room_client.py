"""The command client sends once, over its own connection; each error says what may have happened."""

import json
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from dqm2 import command_responses
from dqm2.command_client import CommandClient, NotSent, OutcomeUnknown, RawResponse, ResponseLimits
from dqm2.command_responses import DaemonLogs
from dqm2.errors import Dqm2Error, Dqm2Failed, Dqm2InvalidResponse, Dqm2Refused
from dqmsquare_cfg import Cluster, Settings, load
from simulator.fault_injection import FaultKind, RequestKind
from simulator.http_types import Request
from simulator.simulator import Simulator
from tests.bad_front_end import PARTIAL_RESPONSES, dripping, front_end
from tests.control_room import UNIT, commands_sent
from tests.waiting import TIMEOUT_S, until

MACHINES = [("what", "get_dqm_machines"), ("kind", "playback")]
RESTART = [("what", "restart_hltd"), ("host", UNIT)]
LOGS = [("what", "get_fff_logs"), ("host", UNIT)]
PATIENT = ResponseLimits(20, 1_000_000)
# Of responses that do not come in time: the first that is enough for a handshake counts.
TIMEOUTS_S = (1, 2, 4, 8, 16, 32)


@pytest.fixture
def relay(simulated_settings: Settings) -> CommandClient:
    """A client of `simulator`."""
    return CommandClient(simulated_settings)


def refusal(relay: CommandClient, bounds: ResponseLimits = PATIENT) -> Dqm2Error:
    with pytest.raises(Dqm2Error) as caught:
        relay.send(RESTART, bounds)
    return caught.value


def test_it_returns_the_response(relay: CommandClient, simulator: Simulator) -> None:
    response = relay.send(MACHINES, PATIENT)
    assert json.loads(response.body) == [
        f"{name}.cms" for name in simulator.topology.clusters[Cluster.PLAYBACK]
    ]
    assert not response.is_start_missing
    assert not response.is_end_missing


def test_it_sends_nothing_if_the_front_end_is_unreachable(settings: Settings, simulator: Simulator) -> None:
    ready = replace(
        settings,
        cmsweb_ca_path=simulator.ca_path,
        server_grid_cert_path=simulator.client_cert_path,
        server_grid_key_path=simulator.client_key_path,
    )
    assert isinstance(refusal(CommandClient(ready)), NotSent)
    nowhere = replace(ready, cmsweb_frontend_proxy_url="https://nowhere.invalid/dqm")
    assert isinstance(refusal(CommandClient(nowhere)), NotSent)


def test_it_sends_nothing_without_a_certificate_or_verification(
    simulated_environment: dict[str, str], simulated_settings: Settings, simulator: Simulator
) -> None:
    nowhere = str(simulator.ca_path.with_name("none.pem"))
    for setting in ("SERVER_GRID_CERT_PATH", "SERVER_GRID_KEY_PATH", "CMSWEB_CA_PATH"):
        error = refusal(CommandClient(load({**simulated_environment, setting: nowhere})))
        assert isinstance(error, NotSent)
        assert str(error) == f"{setting} can't be read: No such file or directory"
    usual = replace(simulated_settings, cmsweb_ca_path=True)
    assert isinstance(refusal(CommandClient(usual)), NotSent)
    simulator.use_certificate(expired=True)
    assert isinstance(refusal(CommandClient(simulated_settings)), NotSent)
    assert commands_sent(simulator) == []


def test_it_skips_verification_if_configured(simulated_settings: Settings, simulator: Simulator) -> None:
    simulator.use_certificate(expired=True)
    relay = CommandClient(replace(simulated_settings, cmsweb_ca_path=False))
    assert relay.send(MACHINES, PATIENT).body


def test_it_distinguishes_a_refused_from_a_broken_connection(
    relay: CommandClient, simulator: Simulator
) -> None:
    simulator.faults.add(FaultKind.CONNECTION_REFUSED, times=1)
    assert isinstance(refusal(relay), NotSent)
    assert commands_sent(simulator) == []
    simulator.faults.add(FaultKind.CONNECTION_CLOSED, request_kind=RequestKind.CONTROL)
    assert isinstance(refusal(relay), OutcomeUnknown)
    assert len(commands_sent(simulator)) == 1


def test_it_reports_a_rejected_certificate(relay: CommandClient, simulator: Simulator) -> None:
    simulator.authority.renew_client(valid_for=-timedelta(days=1))
    # The server may close the connection before its alert is read.
    assert isinstance(refusal(relay), Dqm2Refused | OutcomeUnknown)
    assert commands_sent(simulator) == []
    simulator.authority.renew_client()
    assert relay.send(MACHINES, PATIENT).body


def test_it_reports_a_rejected_secret(simulated_settings: Settings, simulator: Simulator) -> None:
    wrong = CommandClient(replace(simulated_settings, dqm_fff_secret="wrong"))
    error = refusal(wrong)
    assert isinstance(error, Dqm2Refused)
    assert "DQM_FFF_SECRET" in str(error)
    assert [request.status for request in simulator.requests] == [303]


def test_it_reports_a_failure_of_dqm2(relay: CommandClient, simulator: Simulator) -> None:
    simulator.faults.add(FaultKind.ERROR_PAGE, request_kind=RequestKind.CONTROL)
    assert isinstance(refusal(relay), Dqm2Failed)


def test_it_reports_an_unknown_outcome_if_the_front_end_got_no_response(
    relay: CommandClient, simulator: Simulator
) -> None:
    simulator.topology.gateway.is_dead = True
    assert isinstance(refusal(relay), OutcomeUnknown)


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.CONNECTION_CLOSED,
        FaultKind.BODY_INTERRUPTED,
        FaultKind.BODY_TRUNCATED,
    ],
)
def test_it_sends_once_whatever_happens(relay: CommandClient, simulator: Simulator, kind: FaultKind) -> None:
    simulator.faults.add(kind, request_kind=RequestKind.CONTROL)
    if kind is FaultKind.BODY_TRUNCATED:
        assert relay.send(RESTART, PATIENT).body != b"Ok"
    else:
        assert isinstance(refusal(relay), OutcomeUnknown)
    until(lambda: simulator.requests)
    assert len(commands_sent(simulator)) == 1


def test_it_sends_once_over_a_broken_connection(relay: CommandClient, simulator: Simulator) -> None:
    seen = threading.Event()

    def cut(_request: object) -> None:
        if seen.is_set():
            return
        seen.set()
        simulator.close_connections()

    simulator.on_request = cut
    assert isinstance(refusal(relay), OutcomeUnknown)
    until(lambda: simulator.requests)
    assert len(commands_sent(simulator)) == 1


def check_timeout(refusal_within: Callable[[ResponseLimits], Dqm2Error]) -> None:
    """Check the error of a command without a complete response."""
    for timeout_s in TIMEOUTS_S:
        error = refusal_within(replace(PATIENT, timeout_s=timeout_s))
        if not isinstance(error, NotSent):
            break
    assert isinstance(error, OutcomeUnknown)
    assert str(error) == f"no complete response within {timeout_s} s"


def test_it_sends_once_and_respects_the_timeout(relay: CommandClient, simulator: Simulator) -> None:
    arrived: list[Request] = []
    simulator.on_request = arrived.append
    # Until the end of the test, which stops the simulator.
    simulator.faults.add(FaultKind.RESPONSE_DELAY, 10 * TIMEOUT_S, request_kind=RequestKind.CONTROL)
    check_timeout(lambda limits: refusal(relay, limits))
    until(lambda: arrived)
    assert len(arrived) == 1


@pytest.mark.parametrize("begun", PARTIAL_RESPONSES)
def test_it_respects_the_timeout_while_bytes_trickle_in(
    simulator: Simulator, simulated_settings: Settings, begun: bytes
) -> None:
    def refusal_within(limits: ResponseLimits) -> Dqm2Error:
        with front_end(simulator, simulated_settings, dripping(begun)) as settings:
            return refusal(CommandClient(settings), limits)

    check_timeout(refusal_within)


def test_it_does_not_mistake_every_tls_alert_for_a_refusal(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    def fail_after_the_request(connection: socket.socket, context: ssl.SSLContext) -> None:
        heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(heard, said, server_side=True)

        def until_done(step: Callable[[], object]) -> None:
            while True:
                with suppress(ssl.SSLWantReadError):
                    step()
                    return
                connection.sendall(said.read())
                heard.write(connection.recv(10_000))

        until_done(session.do_handshake)
        until_done(session.read)
        # Undecryptable data ends TLS with an alert after the request may have been handled.
        heard.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        with suppress(ssl.SSLError):
            session.read()
        connection.sendall(said.read())

    with front_end(simulator, simulated_settings, fail_after_the_request) as settings:
        error = refusal(CommandClient(settings))
    assert isinstance(error, OutcomeUnknown)
    assert "alert" in str(error)


def test_it_limits_the_size_of_a_response(relay: CommandClient) -> None:
    with pytest.raises(OutcomeUnknown, match="longer than 1000 bytes"):
        relay.send(LOGS, ResponseLimits(20, 1000))


def test_it_keeps_the_end_of_a_long_log(relay: CommandClient) -> None:
    whole = command_responses.parse(
        "get_fff_logs", relay.send(LOGS, ResponseLimits(20, 1_000_000, accepts_partial=True))
    )
    cut = command_responses.parse(
        "get_fff_logs", relay.send(LOGS, ResponseLimits(20, 5_000, accepts_partial=True))
    )
    assert isinstance(whole, DaemonLogs)
    assert isinstance(cut, DaemonLogs)
    [text], [end] = [file.text for file in whole.files], [file.text for file in cut.files]
    assert (whole.is_start_missing, cut.is_start_missing, cut.is_end_missing) == (False, True, False)
    assert 1000 < len(end) < 5_000
    # Both end with the service's start; the lines before it are generated for each request.
    assert end.splitlines()[-1] == text.splitlines()[-1]


def test_it_keeps_the_received_part_of_a_slow_log(relay: CommandClient, simulator: Simulator) -> None:
    simulator.faults.add(FaultKind.BODY_INTERRUPTED, 3000, request_kind=RequestKind.CONTROL)
    raw = relay.send(LOGS, ResponseLimits(20, 1_000_000, accepts_partial=True))
    assert raw.is_end_missing
    logs = command_responses.parse("get_fff_logs", raw)
    assert isinstance(logs, DaemonLogs)
    assert logs.is_end_missing
    assert 2000 < len(logs.files[0].text) <= 3000


@pytest.mark.parametrize("is_start_missing", [False, True])
def test_it_repairs_a_list_of_texts_truncated_anywhere(*, is_start_missing: bool) -> None:
    texts = ['first line\nsecond \\ line\n\ttab "quoted" \u00e9\u20ac \\n no break\n', "another\nfile\n", ""]
    whole = json.dumps(texts).encode()
    for end in range(2, len(whole)):
        body = whole[:end]
        if is_start_missing:
            body = body[15:]
        raw = RawResponse(body, is_start_missing=is_start_missing, is_end_missing=True)
        try:
            logs = command_responses.parse("get_fff_logs", raw)
        except Dqm2InvalidResponse:
            assert is_start_missing
            continue
        assert isinstance(logs, DaemonLogs)
        for mended in logs.files:
            assert any(mended.text in text for text in texts)


def test_it_rejects_deeply_nested_lists() -> None:
    with pytest.raises(Dqm2InvalidResponse):
        command_responses.parse("get_fff_logs", RawResponse(b"[" * 100_000, is_end_missing=True))
