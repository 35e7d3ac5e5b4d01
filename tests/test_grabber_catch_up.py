"""Long catch-ups: parsed in processes beside the grabber, in time slices, and complete even if those die."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

import db
from dqmsquare_cfg import Settings
from simulator.documents import job_document
from simulator.fault_injection import FaultKind
from simulator.http_types import Request
from simulator.simulator import Simulator
from tests.examples import core_of
from tests.grabber_runner import (
    FILTER_UNIT,
    MANY,
    OTHER_FILTER_UNIT,
    count_rows,
    differences,
    grabber_process,
    hold_documents,
    machine_links,
    mirror_once,
    mirrored_runs,
    running_grabber,
)
from tests.processes import children_of, command_line, is_alive, threads_that_take
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres

ROOT = Path(__file__).resolve().parent.parent
# Starts a process as parser processes are started; both report the module that they run.
STARTS_PROCESS = """
import multiprocessing
from runtime import spawn
print(__name__)
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=print, args=("started",))
    spawn.start(process)
    process.join()
"""


def parser_processes(grabber: int) -> list[int]:
    """The parser processes of a grabber, without multiprocessing's resource tracker."""
    return [pid for pid in children_of(grabber) if "spawn_main" in command_line(pid)]


@pytest.mark.usefixtures("_early_parser_processes")
def test_it_mirrors_many_documents_exactly_as_it_mirrors_few(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    simulator.fill(FILTER_UNIT, 60, small=True)
    simulator.fill(FILTER_UNIT, 5)
    simulator.fill(OTHER_FILTER_UNIT, 5)
    assert mirror_once(simulated_settings)
    assert differences(simulated_settings, simulator) == []


@pytest.mark.long
def test_it_mirrors_ten_thousand_small_documents(simulator: Simulator, simulated_settings: Settings) -> None:
    simulator.fill(FILTER_UNIT, 10_000, small=True)
    assert mirror_once(simulated_settings)
    assert differences(simulated_settings, simulator) == []


@pytest.mark.usefixtures("_early_parser_processes")
def test_it_loses_nothing_when_its_parser_processes_are_killed(
    simulator: Simulator, simulated_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.fill(FILTER_UNIT, 80, small=True)

    def kill(_request: Request) -> None:
        for pid in parser_processes(os.getpid()):
            os.kill(pid, signal.SIGKILL)

    simulator.on_request = kill
    assert mirror_once(simulated_settings)
    assert "parser_process_died" in caplog.text
    assert differences(simulated_settings, simulator) == []


def test_it_spawns_processes_that_do_not_import_the_main_module(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(STARTS_PROCESS)
    started = subprocess.run(
        [sys.executable, str(program)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    assert sorted(started.stdout.split()) == ["__main__", "started"]


@pytest.mark.parametrize("number", core_of([signal.SIGTERM, signal.SIGINT], signal.SIGTERM))
def test_it_stops_on_a_signal_while_it_has_parser_processes(
    simulator: Simulator, simulated_environment: dict[str, str], number: signal.Signals
) -> None:
    """A thread that takes the signal instead of the one that waits for it would end the program."""
    simulator.fill(FILTER_UNIT, MANY, small=True)
    simulator.faults.add(FaultKind.LATENCY, 0.5)
    with grabber_process(simulated_environment, "production") as grabber:
        until(lambda: parser_processes(grabber.pid))
        # From now on the catch-up hangs.
        release = threading.Event()
        simulator.on_request = lambda _request: release.wait(TIMEOUT_S)
        until(lambda: len(threads_that_take(number, grabber.pid)) == 1)
        grabber.send_signal(number)
        assert grabber.wait(timeout=TIMEOUT_S) == 0
        release.set()


def test_its_parser_processes_end_when_it_is_killed(
    simulator: Simulator, simulated_environment: dict[str, str]
) -> None:
    simulator.fill(FILTER_UNIT, MANY, small=True)
    simulator.faults.add(FaultKind.LATENCY, 0.5)
    with grabber_process(simulated_environment, "production") as grabber:
        until(lambda: parser_processes(grabber.pid))
        workers = parser_processes(grabber.pid)
        grabber.kill()
        grabber.wait(timeout=TIMEOUT_S)
        until(lambda: not any(map(is_alive, workers)))


@pytest.mark.usefixtures("_early_parser_processes")
def test_it_keeps_no_parser_process_while_another_grabber_is_the_leader(
    simulator: Simulator,
    brisk_settings: Settings,
    postgres: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("grabbing.machine_sync._SLICE_S", 0.0)
    monkeypatch.setattr("grabbing.parser_pool._MAX_PROCESSES", 1)
    simulator.fill(FILTER_UNIT, 120, small=True)
    held, release = hold_documents(simulator, lambda: parser_processes(os.getpid()))
    with (
        closing(postgres.connect(brisk_settings.postgres_production_db_name)) as other,
        other.cursor() as cursor,
        running_grabber(brisk_settings),
    ):
        assert held.wait(TIMEOUT_S)
        # The connection that holds the lock is cut; the one for writing is not.
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s;"
            " SELECT pg_advisory_lock(%s)",
            (db.GRABBER_LOCK, db.GRABBER_LOCK),
        )
        release.set()
        until(lambda: not parser_processes(os.getpid()))
        assert count_rows(brisk_settings, db.jobs) < 120


def test_it_mirrors_other_machines_during_a_catch_up_and_reports_its_progress(
    simulator: Simulator, brisk_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grabbing.machine_sync._SLICE_S", 1.0)
    monkeypatch.setattr("grabbing.parser_pool.InlineParser.batch_size", 10)
    simulator.fill(FILTER_UNIT, 150, small=True)
    simulator.faults.add(FaultKind.LATENCY, 1.0, machine=FILTER_UNIT)
    with running_grabber(brisk_settings):
        until(lambda: mirrored_runs(brisk_settings))
        simulator.machine(OTHER_FILTER_UNIT).upload(job_document(run=7, host=OTHER_FILTER_UNIT))
        until(lambda: 7 in mirrored_runs(brisk_settings))
        assert count_rows(brisk_settings, db.jobs) < 150
        until(lambda: machine_links(brisk_settings)["dqmfu-c2b03-.."].documents_behind)
        simulator.faults.clear()
        until(lambda: count_rows(brisk_settings, db.jobs) == 151)
        until(lambda: not machine_links(brisk_settings)["dqmfu-c2b03-.."].documents_behind)
