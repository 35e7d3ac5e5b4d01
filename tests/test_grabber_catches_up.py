"""Much to catch up with: sifted beside the grabber, in slices, and none of it depends on the helpers."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from multiprocessing.connection import Pipe
from pathlib import Path

import pytest

import db
from dqmsquare_cfg import Settings
from grabbing.document_pipeline import Order, Rules, Sifted
from simulator.documents import job_document
from simulator.fault_injection import FaultKind
from simulator.simulator import Simulator
from tests.mirroring import (
    FILTER_UNIT,
    OTHER_FILTER_UNIT,
    ROOT,
    differences,
    grabber_process,
    grabbing,
    links,
    mirror_once,
    rows,
    runs,
    told,
)
from tests.waiting import until
from tools.demo.postgres import EmbeddedPostgres


def sifting_processes(parent: int) -> list[int]:
    """The processes that sift for a grabber."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            its_parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if its_parent == parent and b"grabbing.parser_pool" in command:
            found.append(int(path.name))
    return found


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_mirrors_many_documents_as_it_mirrors_few(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    simulator.fill(FILTER_UNIT, 1000, small=True)
    simulator.fill(FILTER_UNIT, 20)
    simulator.fill(OTHER_FILTER_UNIT, 20)
    assert mirror_once(simulated_settings)
    assert differences(simulated_settings, simulator) == []


@pytest.mark.long
def test_it_mirrors_ten_thousand_small_documents(simulator: Simulator, simulated_settings: Settings) -> None:
    simulator.fill(FILTER_UNIT, 10_000, small=True)
    assert mirror_once(simulated_settings)
    assert differences(simulated_settings, simulator) == []


def test_it_loses_nothing_when_its_sifting_processes_are_killed(
    simulator: Simulator, simulated_environment: dict[str, str], simulated_settings: Settings
) -> None:
    simulator.fill(FILTER_UNIT, 1100, small=True)
    simulator.faults.add(FaultKind.LATENCY, 0.2)
    with grabber_process(simulated_environment, "production", "--once") as grabber:
        until(lambda: sifting_processes(grabber.pid))
        for pid in sifting_processes(grabber.pid):
            os.kill(pid, signal.SIGKILL)
        told(grabber, "a sifting process is gone")
        output, _ = grabber.communicate(timeout=60)
    assert grabber.returncode == 0, output
    assert differences(simulated_settings, simulator) == []


def test_its_sifting_processes_end_when_it_is_killed(
    simulator: Simulator, simulated_environment: dict[str, str]
) -> None:
    simulator.fill(FILTER_UNIT, 1100, small=True)
    simulator.faults.add(FaultKind.LATENCY, 0.5)
    with grabber_process(simulated_environment, "production") as grabber:
        until(lambda: sifting_processes(grabber.pid))
        helpers = sifting_processes(grabber.pid)
        grabber.kill()
        grabber.wait(timeout=10)
        until(lambda: not any(map(is_alive, helpers)))


def test_it_keeps_no_sifting_process_while_another_holds_the_cluster(
    simulator: Simulator,
    brisk_settings: Settings,
    postgres: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("grabbing.machine_sync._SLICE_S", 0.5)
    simulator.fill(FILTER_UNIT, 5000, small=True)
    simulator.faults.add(FaultKind.LATENCY, 0.3)
    with (
        closing(postgres.connect(brisk_settings.postgres_production_db_name)) as other,
        other.cursor() as cursor,
        grabbing(brisk_settings),
    ):
        until(lambda: sifting_processes(os.getpid()))
        # The connection that the claim hangs on is cut, that which is written by is not.
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s;"
            " SELECT pg_advisory_lock(%s)",
            (db.GRABBER_LOCK, db.GRABBER_LOCK),
        )
        until(lambda: not sifting_processes(os.getpid()))
        assert len(rows(brisk_settings, db.jobs)) < 5000


def test_it_gives_the_others_their_turn_and_tells_how_far_it_is(
    simulator: Simulator, brisk_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grabbing.machine_sync._SLICE_S", 1.0)
    simulator.fill(FILTER_UNIT, 600, small=True)
    simulator.faults.add(FaultKind.LATENCY, 0.3, machine=FILTER_UNIT)
    with grabbing(brisk_settings):
        until(lambda: runs(brisk_settings))
        simulator.machine(OTHER_FILTER_UNIT).upload(job_document(run=7, host=OTHER_FILTER_UNIT))
        until(lambda: 7 in runs(brisk_settings))
        assert len(rows(brisk_settings, db.jobs)) < 600
        until(lambda: links(brisk_settings)["dqmfu-c2b03-.."].documents_behind)
        simulator.faults.clear()
        until(lambda: len(rows(brisk_settings, db.jobs)) == 601)
        until(lambda: not links(brisk_settings)["dqmfu-c2b03-.."].documents_behind)


def test_the_executable_has_the_sifting_process_as_a_part() -> None:
    ours, theirs = Pipe()
    with ours, theirs:
        words = [sys.executable, "dqmsquare_mirror.py", "parse-worker", str(theirs.fileno())]
        process = subprocess.Popen(words, cwd=ROOT, pass_fds=[theirs.fileno()])
        theirs.close()
        ours.send(Rules((), ()))
        ours.send(Order(FILTER_UNIT, [], b""))
        # The answer comes behind the rest of the order.
        ours.send_bytes(b'{"messages": ["{\\"event\\": \\"update_documents\\", \\"documents\\": []}"]}')
        assert ours.recv() == Sifted([], [], [])
    assert process.wait(timeout=10) == 0
