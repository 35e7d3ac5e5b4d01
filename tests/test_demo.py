"""`make demo`: one command starts the whole mirror, and one key ends it."""

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.demo_process import ROOT, DemoProcess, demo_ports


@pytest.fixture
def start_demo(open_folder: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., DemoProcess]]:
    """Starts demos of one folder on free ports, or on those that are given."""
    folder = open_folder / request.node.name
    started: list[DemoProcess] = []

    def start(**ports: str) -> DemoProcess:
        started.append(DemoProcess(folder, {**demo_ports(), **ports}))
        return started[-1]

    yield start
    for demo in started:
        with demo:
            pass


def read(address: str) -> str:
    """What the web server answers."""
    with urllib.request.urlopen(address) as response:
        content: bytes = response.read()
    return content.decode()


def test_it_tells_where_the_page_and_the_control_room_are(demo: DemoProcess) -> None:
    port = demo.ports["SERVER_PORT"]
    assert demo.page == f"http://127.0.0.1:{port}/"
    address, user, password = demo.control_room
    assert (address, user) == (f"http://127.0.0.1:{port}/cr/", "demo")
    assert len(password) >= 16


def test_it_shows_runs_of_both_clusters(demo: DemoProcess) -> None:
    for cluster in ("production", "playback"):
        assert "null" not in read(f"{demo.page}api?what=get_info&db={cluster}")


def test_it_listens_on_the_loopback_alone(demo: DemoProcess) -> None:
    ports = {int(port) for port in demo.ports.values()}
    listening = [line.split()[1] for line in _sockets() if line.split()[3] == "0A"]
    addresses = {
        entry.rpartition(":")[0] for entry in listening if int(entry.rpartition(":")[2], 16) in ports
    }
    assert addresses == {"0100007F"}


def test_it_keeps_what_it_makes_to_its_user(demo: DemoProcess) -> None:
    for name in ("control_room_password", "dqm2_secret", "log", "tmp", "simulator"):
        assert (demo.folder / name).stat().st_mode & 0o077 == 0


def test_it_ends_every_process_and_goes_on_with_its_data(start_demo: Callable[..., DemoProcess]) -> None:
    first = start_demo()
    first.wait_until_ready()
    known = json.loads(read(f"{first.page}api?what=get_info&db=production"))
    first.terminate()
    first.read_to_its_end()
    assert "everything has ended" in first.lines
    assert first.processes() == {}
    second = start_demo(**first.ports)
    second.wait_until_ready()
    lowest, newest = json.loads(read(f"{second.page}api?what=get_info&db=production"))
    assert lowest == known[0]
    assert newest > known[1]
    assert second.control_room == first.control_room
    second.interrupt()
    second.read_to_its_end()
    assert second.processes() == {}


@pytest.mark.parametrize(
    "step", ["what it keeps", "PostgreSQL", "simulated", "grabber of the playback", "web server"]
)
def test_it_leaves_nothing_behind_when_it_is_told_to_end_during_the_start(
    start_demo: Callable[..., DemoProcess], step: str
) -> None:
    demo = start_demo()
    demo.read_until(step)
    demo.terminate()
    demo.read_to_its_end()
    assert "everything has ended" in demo.lines
    assert demo.processes() == {}


def test_it_names_every_port_that_is_taken_before_it_starts_anything(
    start_demo: Callable[..., DemoProcess],
) -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as one,
        closing(socket.create_server(("", 0))) as other,
    ):
        taken = [str(door.getsockname()[1]) for door in (one, other)]
        demo = start_demo(SERVER_PORT=taken[0], POSTGRES_PORT=taken[1])
        assert demo.read_to_its_end() != 0
    assert f"port {taken[0]} is taken; set SERVER_PORT to another: make demo SERVER_PORT=…" in demo.lines
    assert f"port {taken[1]} is taken; set POSTGRES_PORT to another: make demo POSTGRES_PORT=…" in demo.lines
    assert not (demo.folder / "postgres").exists()


def test_it_refuses_one_port_for_two(start_demo: Callable[..., DemoProcess]) -> None:
    port = demo_ports()["SERVER_PORT"]
    demo = start_demo(SERVER_PORT=port, SIMULATOR_PORT=port)
    assert demo.read_to_its_end() != 0
    assert any("each needs a port of its own" in line for line in demo.lines)


def test_it_refuses_to_run_twice_from_one_folder(demo: DemoProcess) -> None:
    with DemoProcess(demo.folder, demo_ports()) as second:
        assert second.read_to_its_end() != 0
    assert any("this demo runs already" in line for line in second.lines)


def test_it_ends_everything_when_one_process_dies_and_tells_its_last_words(
    start_demo: Callable[..., DemoProcess],
) -> None:
    demo = start_demo()
    demo.wait_until_ready()
    [grabber] = [pid for pid, command in demo.processes().items() if "grabber.py playback" in command]
    os.kill(grabber, signal.SIGKILL)
    assert demo.read_to_its_end() != 0
    assert "playback grabber exited unexpectedly on SIGKILL" in demo.lines
    assert demo.processes() == {}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="there is nothing to clone")
def test_it_needs_nothing_but_a_clone(open_folder: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    with DemoProcess(open_folder / "demo-of-a-clone", demo_ports(), clone) as demo:
        demo.wait_until_ready()
        assert "DQM" in read(demo.page)
        demo.terminate()
        demo.read_to_its_end()
        assert demo.processes() == {}


def _sockets() -> list[str]:
    return (
        Path("/proc/net/tcp").read_text().splitlines()[1:]
        + Path("/proc/net/tcp6").read_text().splitlines()[1:]
    )
