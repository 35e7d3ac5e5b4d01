"""Notifications to systemd: readiness and watchdog of server and grabbers."""

import os
import signal
from pathlib import Path

import pytest

from simulator.simulator import Simulator
from tests.examples import core_of
from tests.grabber_runner import grabber_process
from tests.served import free_port, server_process, workers_of
from tests.systemd_socket import systemd_socket
from tests.waiting import until

READY, ALIVE = "READY=1", "WATCHDOG=1"


def test_the_server_is_ready_once_it_responds(environment: dict[str, str], tmp_path: Path) -> None:
    with (
        systemd_socket(environment, tmp_path) as (notifications, given),
        server_process(given, is_up=False) as server,
    ):
        assert notifications.receive() == READY
        assert server.is_up()
        assert notifications.receive() == ALIVE


def test_the_server_withholds_the_watchdog_while_no_worker_responds(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with systemd_socket(environment, tmp_path) as (notifications, given), server_process(given) as server:
        assert notifications.receive() == READY
        [worker] = workers_of(server)
        os.kill(worker, signal.SIGSTOP)
        until(lambda: notifications.is_silent(3))
        os.kill(worker, signal.SIGCONT)
        assert notifications.receive() == ALIVE


def test_the_server_is_never_ready_with_invalid_settings(environment: dict[str, str], tmp_path: Path) -> None:
    invalid = {**environment, "SERVER_PORT": "none"}
    with (
        systemd_socket(invalid, tmp_path) as (notifications, given),
        server_process(given, is_up=False) as server,
    ):
        assert server.wait_for_end() == 2
        assert notifications.is_silent(0.1)


def test_its_workers_do_not_inherit_the_socket(environment: dict[str, str], tmp_path: Path) -> None:
    with systemd_socket(environment, tmp_path) as (notifications, given), server_process(given):
        assert [notifications.receive() for _ in range(3)] == [READY, ALIVE, ALIVE]


@pytest.mark.parametrize("arguments", core_of([["production"], []], []))
def test_a_grabber_is_ready_once_its_loop_runs(
    simulator: Simulator, simulated_environment: dict[str, str], tmp_path: Path, arguments: list[str]
) -> None:
    with (
        systemd_socket(simulated_environment, tmp_path) as (notifications, given),
        grabber_process(given, *arguments),
    ):
        assert notifications.receive() == READY
        assert notifications.receive() == ALIVE
        until(lambda: simulator.requests)


def test_a_grabber_is_alive_while_it_waits_for_its_database(
    simulated_environment: dict[str, str], tmp_path: Path
) -> None:
    without_database = {**simulated_environment, "POSTGRES_PORT": free_port()}
    with (
        systemd_socket(without_database, tmp_path) as (notifications, given),
        grabber_process(given, "production"),
    ):
        assert notifications.receive() == READY
        assert notifications.receive() == ALIVE


def test_a_program_without_systemd_sends_nothing(environment: dict[str, str]) -> None:
    with server_process({**environment, "WATCHDOG_USEC": "1000"}) as server:
        assert server.get("/healthz").ok
        assert "systemd_notify" not in server.logged()
