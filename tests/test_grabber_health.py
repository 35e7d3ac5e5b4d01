"""A grabber's own port: metrics, liveness of the main loop, readiness as the leader."""

import signal
from collections.abc import Mapping

import requests

from dqmsquare_cfg import Cluster
from grabbing.health import HUNG_AFTER_S, Liveness
from simulator.simulator import Simulator
from tests.grabber_runner import grabber_process
from tests.served import free_port
from tests.waiting import TIMEOUT_S, until

PORT = "GRABBER_PRODUCTION_METRICS_PORT"


def ask(environment: Mapping[str, str], path: str) -> tuple[int, str]:
    answer = requests.get(f"http://127.0.0.1:{environment[PORT]}{path}", timeout=TIMEOUT_S)
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
        assert 'dqmsquare_grabber_is_leader{cluster="production"} 1.0' in metrics
        assert ask(given, "/") == (404, "Not found; available: /metrics, /healthz, /readyz")


def test_it_is_alive_but_not_ready_without_its_database(environment: dict[str, str]) -> None:
    given = {**environment, PORT: free_port(), "POSTGRES_PORT": free_port()}
    with grabber_process(given, "production"):
        until(lambda: answers(given, "/healthz"))
        assert ask(given, "/readyz") == (503, "This grabber does not mirror the production cluster.")


def test_it_is_not_ready_while_it_waits_for_the_lock(
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
            output, _ = second.communicate(timeout=TIMEOUT_S)
        assert second.returncode == 2
        assert output.splitlines()[-1] == (
            f"{PORT} is {given[PORT]}, which cannot be bound: Address already in use"
        )


def test_it_is_not_alive_before_its_loop_has_run() -> None:
    assert Liveness(Cluster.PLAYBACK).liveness_problem() == "The main loop has not run yet."


def test_it_is_not_alive_once_its_loop_hangs() -> None:
    now_s = 1000.0
    liveness = Liveness(Cluster.PLAYBACK, clock=lambda: now_s)
    liveness.set_leader(True)
    liveness.tick()
    assert liveness.liveness_problem() is None
    assert liveness.readiness_problem() is None
    now_s += HUNG_AFTER_S
    assert liveness.liveness_problem() is None
    now_s += 1
    assert liveness.liveness_problem() == "The main loop has not run for 181 s."
    assert liveness.readiness_problem() == liveness.liveness_problem()
    liveness.tick()
    assert liveness.liveness_problem() is None
