"""What a grabber answers for on its own port: metrics, whether its loop turns, whether it has its cluster."""

import signal
from collections.abc import Mapping

import pytest
import requests

from dqmsquare_cfg import Cluster
from grabbing.liveness import Pulse
from simulator.simulator import Simulator
from tests.mirroring import grabber_process
from tests.served import free_port
from tests.waiting import until

PORT = "GRABBER_PRODUCTION_METRICS_PORT"


def ask(environment: Mapping[str, str], path: str) -> tuple[int, str]:
    answer = requests.get(f"http://127.0.0.1:{environment[PORT]}{path}", timeout=10)
    return answer.status_code, answer.text.strip()


def answers(environment: Mapping[str, str], path: str) -> bool:
    try:
        return ask(environment, path)[0] == 200
    except requests.ConnectionError:
        return False


def test_it_is_alive_and_ready_while_it_mirrors(
    simulator: Simulator, brisk_environment: dict[str, str]
) -> None:
    given = {**brisk_environment, PORT: free_port()}
    with grabber_process(given, "production"):
        until(lambda: answers(given, "/readyz"))
        assert ask(given, "/healthz") == (200, "ok")
        until(lambda: simulator.requests)
        status, metrics = ask(given, "/metrics")
        assert status == 200
        assert 'dqmsquare_holds_cluster{cluster="production"} 1.0' in metrics
        assert ask(given, "/") == (404, "Only /metrics, /healthz, /readyz are here.")


def test_it_is_alive_but_not_ready_without_its_database(environment: dict[str, str]) -> None:
    given = {**environment, PORT: free_port(), "POSTGRES_PORT": free_port()}
    with grabber_process(given, "production"):
        until(lambda: answers(given, "/healthz"))
        assert ask(given, "/readyz") == (503, "It does not have the production cluster.")


def test_the_one_that_waits_is_not_ready_until_it_takes_over(
    simulator: Simulator, brisk_environment: dict[str, str]
) -> None:
    first = {**brisk_environment, PORT: free_port()}
    second = {**brisk_environment, PORT: free_port()}
    with grabber_process(first, "production") as holding:
        until(lambda: answers(first, "/readyz"))
        with grabber_process(second, "production"):
            until(lambda: answers(second, "/healthz"))
            assert ask(second, "/readyz")[0] == 503
            holding.send_signal(signal.SIGTERM)
            until(lambda: answers(second, "/readyz"))
    assert simulator.requests


def test_it_names_a_port_that_is_taken(environment: dict[str, str]) -> None:
    given = {**environment, PORT: free_port()}
    with grabber_process(given, "production"):
        until(lambda: answers(given, "/healthz"))
        with grabber_process(given, "production") as second:
            output, _ = second.communicate(timeout=30)
        assert second.returncode == 2
        assert output.splitlines()[-1] == (
            f"{PORT} is {given[PORT]}, which can't be listened on: Address already in use"
        )


@pytest.fixture
def pulse() -> Pulse:
    """A pulse that is still after a very short time."""
    return Pulse(Cluster.PLAYBACK, still_after_s=0.2)


def test_it_is_not_alive_before_its_loop_has_turned(pulse: Pulse) -> None:
    assert pulse.why_not_alive() == "The loop has not turned yet."


def test_it_is_not_alive_once_its_loop_stands_still(pulse: Pulse) -> None:
    pulse.took_cluster()
    pulse.turned()
    assert pulse.why_not_alive() is None
    assert pulse.why_not_ready() is None
    until(lambda: pulse.why_not_alive() == "The loop has not turned for 0 s.")
    assert pulse.why_not_ready() == pulse.why_not_alive()
    pulse.turned()
    assert pulse.why_not_alive() is None
