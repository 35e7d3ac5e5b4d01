"""The admin endpoint and the command line of the simulator."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.admin import AdminClient, AdminError
from simulator.documents import job_document
from simulator.simulator import Simulator
from tests.examples import core_of
from tests.waiting import TIMEOUT_S

FILTER_UNIT = "dqmfu-c2b03-45-01"


@pytest.fixture
def admin(simulator: Simulator, tmp_path: Path) -> Iterator[AdminClient]:
    """A client of the administration of `simulator`."""
    with AdminClient(simulator.base_url, tmp_path / "simulator") as admin:
        yield admin


def start(folder: Path, *options: str, secret: str) -> tuple[subprocess.Popen[str], str]:
    """Start the command line; returns the process and the first line of its output."""
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator", "--folder", str(folder), "--history", "1", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[1],
        env={"PATH": os.environ["PATH"]},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{secret}\n")
    process.stdin.close()
    return process, process.stdout.readline().strip()


def test_it_uploads_and_returns_documents(simulator: Simulator, admin: AdminClient) -> None:
    assert admin.call("upload", machine=FILTER_UNIT, documents=[job_document(timestamp=17.5)]) == [1]
    [document] = admin.call("documents", machine=FILTER_UNIT).values()
    assert document == {**job_document(timestamp=17.5), "_rev": 1}
    assert admin.call("headers", machine=FILTER_UNIT) == simulator.machine(FILTER_UNIT).headers()


def test_it_resets_prunes_and_deletes(simulator: Simulator, admin: AdminClient) -> None:
    machine = simulator.machine(FILTER_UNIT)
    admin.call("fill", machine=FILTER_UNIT, count=10, small=True, cache_json=True)
    admin.call("prune", machine=FILTER_UNIT, count=3)
    assert machine.highest_revision == 7
    admin.call("delete", machine=FILTER_UNIT, document_id=machine.headers()[0]["_id"])
    assert len(machine.headers()) == 6
    admin.call("reset", machine=FILTER_UNIT)
    assert machine.headers() == []


def test_it_sets_and_clears_faults(simulator: Simulator, admin: AdminClient) -> None:
    admin.call("add-fault", kind="latency", amount=0.5, machine=FILTER_UNIT, request_kind="headers", times=3)
    [fault] = simulator.faults.active()
    assert (fault.kind, fault.amount, fault.machine, fault.request_kind, fault.times) == (
        "latency",
        0.5,
        FILTER_UNIT,
        "headers",
        3,
    )
    assert admin.call("status")["faults"][0]["kind"] == "latency"
    admin.call("clear-faults")
    assert simulator.faults.active() == ()


def test_it_changes_the_state_of_machines(simulator: Simulator, admin: AdminClient) -> None:
    admin.call("set-machine", machine=FILTER_UNIT, is_dead=True, is_ssh_broken=True)
    machine = simulator.machine(FILTER_UNIT)
    assert (machine.is_dead, machine.is_ssh_broken) == (True, True)
    admin.call("set-machine", machine=FILTER_UNIT, is_dead=False)
    assert (machine.is_dead, machine.is_ssh_broken) == (False, True)


def test_it_forces_events(admin: AdminClient) -> None:
    admin.call("event", event="start_run", cluster="production")
    admin.call("event", event="crash", cluster="production", client="beam", exit_code=-6)
    codes = [
        document.get("exit_code")
        for host in (FILTER_UNIT, "dqmfu-c2b04-45-01")
        for document in admin.call("documents", machine=host).values()
        if document["type"] == "dqm-source-state" and document["tag"].startswith("beam_")
    ]
    assert codes == [-6]
    status = admin.call("status")["clusters"]["production"]
    assert "beam" not in {job["client"] for job in status["jobs"]}
    before = status["lumisection"]
    admin.call("advance", seconds=60)
    assert admin.call("status")["clusters"]["production"]["lumisection"] > before


def test_it_returns_the_recorded_requests_to_the_gateway(simulator: Simulator, admin: AdminClient) -> None:
    with simulator.session() as session:
        session.post(f"{simulator.base_url}/sync_proxy", json={"messages": []}, timeout=TIMEOUT_S)
    [request] = admin.call("requests")
    assert request["path"].endswith("/sync_proxy")
    assert request["body"] == '{"messages": []}'
    admin.call("clear-requests")
    assert admin.call("requests") == []


@pytest.mark.parametrize(
    ("command", "parameters", "message"),
    [
        ("sabotage", {}, "POST one of"),
        ("reset", {"machine": "nobody"}, "no machine 'nobody'"),
        ("reset", {}, "machine"),
        ("add-fault", {"kind": "sabotage"}, "sabotage"),
        ("event", {"event": "sabotage", "cluster": "production"}, "sabotage"),
        ("event", {"event": "crash", "cluster": "production", "client": "beam"}, "no run"),
        ("event", {"event": "start_run", "cluster": "lookarea"}, "lookarea"),
        ("set-mode", {"mode": "honest"}, "honest"),
    ],
)
def test_it_rejects_invalid_commands(
    admin: AdminClient, command: str, parameters: dict[str, str], message: str
) -> None:
    with pytest.raises(AdminError, match=message):
        admin.call(command, **parameters)


@pytest.mark.parametrize("number", core_of([signal.SIGTERM, signal.SIGINT], signal.SIGTERM))
def test_it_serves_with_a_secret_from_standard_input_until_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    options = ("--secret-file", "-", "--clients", "beam,csc", "--mode", "released")
    process, base_url = start(tmp_path, *options, secret="a-secret")
    with (
        process,
        AdminClient(base_url, tmp_path) as admin,
        Simulator(tmp_path, secret="a-secret").session() as session,
    ):
        asked = f"{base_url}/cr/exe?what=get_dqm_machines"
        assert session.get(asked, timeout=TIMEOUT_S, allow_redirects=False).status_code == 200
        status = admin.call("status")
        assert status["mode"] == "released"
        assert status["clusters"]["playback"]["run"] is not None
        process.send_signal(number)
        assert process.wait(timeout=TIMEOUT_S) == 0


@pytest.mark.long
def test_it_reports_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "simulator", "--folder", str(tmp_path), "--port", str(port)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[1],
            env={"PATH": os.environ["PATH"]},
            timeout=TIMEOUT_S,
            check=False,
        )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert f"cannot listen on --port {port}: Address already in use\n" in ended.stderr
