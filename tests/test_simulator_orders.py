"""Another process starts the simulator, gives it orders, and ends it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator import Remote, RemoteError, Simulator, job_document

FILTER_UNIT = "dqmfu-c2b03-45-01"


@pytest.fixture
def remote(simulator: Simulator, tmp_path: Path) -> Iterator[Remote]:
    with Remote(simulator.base_url, tmp_path / "simulator") as remote:
        yield remote


def start(folder: Path, *options: str, secret: str | None = None) -> tuple[subprocess.Popen[str], str]:
    """The command line's process and the first line that it prints."""
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
    if secret is not None:
        process.stdin.write(f"{secret}\n")
        process.stdin.close()
    return process, process.stdout.readline().strip()


def test_it_uploads_and_shows_documents(simulator: Simulator, remote: Remote) -> None:
    assert remote.tell("upload", machine=FILTER_UNIT, documents=[job_document(timestamp=17.5)]) == [1]
    [document] = remote.tell("documents", machine=FILTER_UNIT).values()
    assert document == {**job_document(timestamp=17.5), "_rev": 1}
    assert remote.tell("headers", machine=FILTER_UNIT) == simulator.machine(FILTER_UNIT).headers()


def test_it_resets_prunes_and_deletes(simulator: Simulator, remote: Remote) -> None:
    machine = simulator.machine(FILTER_UNIT)
    remote.tell("fill", machine=FILTER_UNIT, count=10, small=True, keep_answers=True)
    remote.tell("prune", machine=FILTER_UNIT, count=3)
    assert machine.highest_revision == 7
    remote.tell("delete", machine=FILTER_UNIT, document_id=machine.headers()[0]["_id"])
    assert len(machine.headers()) == 6
    remote.tell("reset", machine=FILTER_UNIT)
    assert machine.headers() == []


def test_it_sets_and_clears_faults(simulator: Simulator, remote: Remote) -> None:
    remote.tell("add-fault", kind="latency", amount=0.5, machine=FILTER_UNIT, ask="headers", requests=3)
    [fault] = simulator.faults.active()
    assert (fault.kind, fault.amount, fault.machine, fault.ask, fault.requests) == (
        "latency",
        0.5,
        FILTER_UNIT,
        "headers",
        3,
    )
    assert remote.tell("status")["faults"][0]["kind"] == "latency"
    remote.tell("clear-faults")
    assert simulator.faults.active() == ()


def test_it_takes_machines_down_and_up(simulator: Simulator, remote: Remote) -> None:
    remote.tell("machine", machine=FILTER_UNIT, is_dead=True, is_ssh_broken=True)
    machine = simulator.machine(FILTER_UNIT)
    assert (machine.is_dead, machine.is_ssh_broken) == (True, True)
    remote.tell("machine", machine=FILTER_UNIT, is_dead=False)
    assert (machine.is_dead, machine.is_ssh_broken) == (False, True)


def test_it_forces_events(remote: Remote) -> None:
    remote.tell("event", event="next_run", cluster="production")
    remote.tell("event", event="crash", cluster="production", client="beam", exit_code=-6)
    codes = [
        document.get("exit_code")
        for host in (FILTER_UNIT, "dqmfu-c2b04-45-01")
        for document in remote.tell("documents", machine=host).values()
        if document["type"] == "dqm-source-state" and document["tag"].startswith("beam_")
    ]
    assert codes == [-6]
    status = remote.tell("status")["clusters"]["production"]
    assert "beam" not in {job["client"] for job in status["jobs"]}
    before = status["lumisection"]
    remote.tell("advance", seconds=60)
    assert remote.tell("status")["clusters"]["production"]["lumisection"] > before


def test_it_shows_what_was_requested_of_the_gateway_alone(simulator: Simulator, remote: Remote) -> None:
    with simulator.session() as session:
        session.post(f"{simulator.base_url}/sync_proxy", json={"messages": []}, timeout=30)
    [request] = remote.tell("requests")
    assert request["path"].endswith("/sync_proxy")
    assert request["body"] == '{"messages": []}'
    remote.tell("clear-requests")
    assert remote.tell("requests") == []


@pytest.mark.parametrize(
    ("verb", "parameters", "says"),
    [
        ("sabotage", {}, "POST one of"),
        ("reset", {"machine": "nobody"}, "no machine 'nobody'"),
        ("reset", {}, "machine"),
        ("add-fault", {"kind": "sabotage"}, "sabotage"),
        ("event", {"event": "sabotage", "cluster": "production"}, "sabotage"),
        ("event", {"event": "crash", "cluster": "production", "client": "beam"}, "no run"),
        ("event", {"event": "next_run", "cluster": "lookarea"}, "lookarea"),
        ("mode", {"mode": "honest"}, "honest"),
    ],
)
def test_it_says_what_it_can_not_do(remote: Remote, verb: str, parameters: dict[str, str], says: str) -> None:
    with pytest.raises(RemoteError, match=says):
        remote.tell(verb, **parameters)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_from_the_command_line_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    process, base_url = start(tmp_path, "--clients", "beam,csc", "--mode", "released")
    with process, Remote(base_url, tmp_path) as remote:
        status = remote.tell("status")
        assert status["mode"] == "released"
        assert status["clusters"]["playback"]["run"] is not None
        process.send_signal(number)
        assert process.wait(timeout=10) == 0


def test_it_takes_the_secret_from_standard_input(tmp_path: Path) -> None:
    process, base_url = start(tmp_path, "--secret-file", "-", "--still", secret="a-secret")
    with process, Simulator(tmp_path, secret="a-secret").session() as session:
        answer = session.get(f"{base_url}/cr/exe?what=get_dqm_machines", timeout=30, allow_redirects=False)
        process.terminate()
    assert answer.status_code == 200


def test_it_names_a_port_that_is_taken(tmp_path: Path) -> None:
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
            timeout=60,
            check=False,
        )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert f"the simulator can't serve on --port {port}: Address already in use\n" in ended.stderr
