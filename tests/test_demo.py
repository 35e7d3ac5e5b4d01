"""`make demo`: one command starts the whole mirror, one signal stops it."""

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest

from dqmsquare_cfg import Cluster, Settings
from tests import commands
from tests.demo_process import PORTS, ROOT, DemoProcess, demo_ports
from tests.examples import long
from tests.grabber_runner import reader
from tests.mirrored_cluster import MirroredCluster, job
from tools.demo import process_specs
from tools.demo.__main__ import last_run, main
from tools.demo.postgres import EmbeddedPostgres
from tools.demo.process_specs import DemoProcesses

STOPPED = "all processes have stopped"


@pytest.fixture
def start_demo(open_folder: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., DemoProcess]]:
    """Starts demos with one data directory, on free ports or those given."""
    # Not the whole name of the test: it has the words of a step, which the first line would then have too.
    folder = open_folder / request.node.originalname
    started: list[DemoProcess] = []

    def start(**ports: str) -> DemoProcess:
        started.append(DemoProcess(folder, {**demo_ports(), **ports}))
        return started[-1]

    yield start
    for demo in started:
        with demo:
            pass


def get(url: str) -> str:
    with urllib.request.urlopen(url) as response:
        content: bytes = response.read()
    return content.decode()


def assert_addresses_are_printed(demo: DemoProcess) -> None:
    port = demo.ports["SERVER_PORT"]
    assert demo.page == f"http://127.0.0.1:{port}/"
    address, user, password = demo.control_room
    assert (address, user) == (f"http://127.0.0.1:{port}/cr/", "demo")
    assert len(password) >= 16


def assert_only_the_loopback_is_listened_on(demo: DemoProcess) -> None:
    ports = {int(port) for port in demo.ports.values()}
    listening = [line.split()[1] for line in _sockets() if line.split()[3] == "0A"]
    addresses = {
        entry.rpartition(":")[0] for entry in listening if int(entry.rpartition(":")[2], 16) in ports
    }
    assert addresses == {"0100007F"}


def assert_others_cannot_read_the_files(demo: DemoProcess) -> None:
    for name in ("control_room_password", "dqm2_secret", "log", "tmp", "simulator"):
        assert (demo.folder / name).stat().st_mode & 0o077 == 0


def assert_it_does_not_run_twice(demo: DemoProcess) -> None:
    status, output = run_here(demo.folder)
    assert status != 0
    assert "this demo is already running" in output


def test_it_runs_once_and_stops_all_processes_when_one_exits(start_demo: Callable[..., DemoProcess]) -> None:
    """One life of a demo: each start costs as much as a hundred other tests."""
    demo = start_demo()
    demo.wait_until_ready()
    assert_addresses_are_printed(demo)
    assert_only_the_loopback_is_listened_on(demo)
    assert_others_cannot_read_the_files(demo)
    assert_it_does_not_run_twice(demo)
    for database in Cluster:
        assert "null" not in get(f"{demo.page}api?what=get_info&db={database}")
    [grabber] = [pid for pid, command in demo.processes().items() if "grabber.py playback" in command]
    os.kill(grabber, signal.SIGKILL)
    assert demo.wait() != 0
    assert "playback grabber exited unexpectedly on SIGKILL" in demo.lines
    assert demo.processes() == {}


@pytest.mark.long
def test_it_continues_with_its_data(start_demo: Callable[..., DemoProcess]) -> None:
    first = start_demo()
    first.wait_until_ready()
    known = json.loads(get(f"{first.page}api?what=get_info&db=production"))
    first.interrupt()
    first.wait()
    assert STOPPED in first.lines
    assert first.processes() == {}
    second = start_demo(**first.ports)
    second.wait_until_ready()
    lowest, newest = json.loads(get(f"{second.page}api?what=get_info&db=production"))
    assert lowest == known[0]
    assert newest > known[1]
    assert second.control_room == first.control_room


@pytest.mark.parametrize(
    "step",
    [
        long("data directory"),
        "PostgreSQL",
        long("simulated"),
        long("the grabber of the playback"),
        long("the web server"),
    ],
)
def test_it_leaves_no_process_when_it_is_stopped_during_startup(
    start_demo: Callable[..., DemoProcess], step: str
) -> None:
    demo = start_demo()
    demo.read_until(step)
    demo.interrupt()
    demo.wait()
    assert STOPPED in demo.lines
    assert demo.processes() == {}


def run_here(folder: Path, *arguments: str, **ports: str) -> tuple[int, str]:
    """Exit status and output of a demo that ends before it starts anything."""
    had_started = (folder / "postgres").exists()
    with patch("sys.argv", ["demo", *arguments]):
        environment = {**demo_ports(), **ports, "DEMO_FOLDER": str(folder)}
        found = commands.run(lambda _: main(), environment)
    assert (folder / "postgres").exists() == had_started
    return found


def test_it_reports_all_taken_ports_before_it_starts_anything(tmp_path: Path) -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as one,
        closing(socket.create_server(("", 0))) as other,
    ):
        taken = [str(listening.getsockname()[1]) for listening in (one, other)]
        status, output = run_here(tmp_path / "demo", SERVER_PORT=taken[0], POSTGRES_PORT=taken[1])
    assert status != 0
    assert f"port {taken[0]} is taken; choose another: make demo SERVER_PORT=…" in output.splitlines()
    assert f"port {taken[1]} is taken; choose another: make demo POSTGRES_PORT=…" in output.splitlines()


def test_it_rejects_one_port_for_two_programs(tmp_path: Path) -> None:
    port = demo_ports()["SERVER_PORT"]
    status, output = run_here(tmp_path / "demo", SERVER_PORT=port, SIMULATOR_PORT=port)
    assert status != 0
    assert "each needs a port of its own" in output


def test_it_goes_on_after_a_run_that_had_just_begun(settings: Settings, mirrored: MirroredCluster) -> None:
    now = datetime.now(UTC)
    mirrored.write(mirrored.filter_units[0], job(358_791, "csc", at=now, started_at=now))
    found = last_run(reader(settings))
    assert found is not None
    assert found.number == 358_791
    assert found.started_at == pytest.approx(now.timestamp())


def test_its_help_names_each_variable(tmp_path: Path) -> None:
    status, output = run_here(tmp_path, "--help")
    assert status == 0
    for name in ("DEMO_SPEED", "DEMO_RUNS", "DEMO_FOLDER", *PORTS):
        assert f"  {name} " in output


def test_it_refuses_arguments(tmp_path: Path) -> None:
    status, _ = run_here(tmp_path, "--speed=1")
    assert status == 2


def test_it_leaves_no_bytecode_in_a_clone_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    chosen = process_specs.parse({"DEMO_FOLDER": str(tmp_path)}, ROOT)
    in_own_clone = DemoProcesses(ROOT, chosen, postgres, {}).environment
    monkeypatch.setattr(os, "getuid", lambda: ROOT.stat().st_uid + 1)
    elsewhere = DemoProcesses(ROOT, chosen, postgres, {}).environment
    assert elsewhere == {**in_own_clone, "PYTHONPYCACHEPREFIX": str(tmp_path / "tmp" / "pycache")}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="there is nothing to clone")
def test_it_needs_only_a_clone(open_folder: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    with DemoProcess(open_folder / "demo-of-a-clone", demo_ports(), clone) as demo:
        demo.wait_until_ready()
        assert "DQM" in get(demo.page)
        demo.terminate()
        demo.wait()
        assert demo.processes() == {}


def _sockets() -> list[str]:
    return (
        Path("/proc/net/tcp").read_text().splitlines()[1:]
        + Path("/proc/net/tcp6").read_text().splitlines()[1:]
    )
