"""What systemd is told of the programs: ready when they are, and well for as long as they are."""

import os
import signal
from pathlib import Path

import pytest

from simulator.simulator import Simulator
from tests.mirroring import grabber_process
from tests.notified import service_manager
from tests.served import free_port, server_process, workers_of
from tests.waiting import until

READY, WELL = "READY=1", "WATCHDOG=1"


def test_the_server_is_ready_once_it_answers(environment: dict[str, str], tmp_path: Path) -> None:
    with (
        service_manager(environment, tmp_path) as (news, given),
        server_process(given, is_up=False) as server,
    ):
        assert news.next() == READY
        assert server.is_up()
        assert news.next() == WELL


def test_the_server_is_not_well_while_no_worker_answers(environment: dict[str, str], tmp_path: Path) -> None:
    with service_manager(environment, tmp_path) as (news, given), server_process(given) as server:
        assert news.next() == READY
        [worker] = workers_of(server)
        os.kill(worker, signal.SIGSTOP)
        news.forget()
        assert news.is_silent(3)
        os.kill(worker, signal.SIGCONT)
        assert news.next() == WELL


def test_the_server_is_not_ready_when_it_ends_for_its_settings(
    environment: dict[str, str], tmp_path: Path
) -> None:
    bad = {**environment, "SERVER_PORT": "none"}
    with service_manager(bad, tmp_path) as (news, given), server_process(given, is_up=False) as server:
        assert server.wait_for_end() == 2
        assert news.is_silent(0.1)


def test_its_workers_do_not_inherit_the_way_to_the_service_manager(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with service_manager(environment, tmp_path) as (news, given), server_process(given):
        assert [news.next() for _ in range(3)] == [READY, WELL, WELL]


@pytest.mark.parametrize("words", [["production"], []])
def test_a_grabber_is_ready_once_its_loop_turns(
    simulator: Simulator, simulated_environment: dict[str, str], tmp_path: Path, words: list[str]
) -> None:
    with (
        service_manager(simulated_environment, tmp_path) as (news, given),
        grabber_process(given, *words),
    ):
        assert news.next() == READY
        assert news.next() == WELL
        until(lambda: simulator.requests)


def test_a_grabber_is_well_while_it_waits_for_its_database(
    simulated_environment: dict[str, str], tmp_path: Path
) -> None:
    without = {**simulated_environment, "POSTGRES_PORT": free_port()}
    with service_manager(without, tmp_path) as (news, given), grabber_process(given, "production"):
        assert news.next() == READY
        assert news.next() == WELL


def test_a_program_without_a_service_manager_tells_nobody(environment: dict[str, str]) -> None:
    with server_process({**environment, "WATCHDOG_USEC": "1000"}) as server:
        assert server.get("/healthz").ok
        assert "notify" not in server.logged()
