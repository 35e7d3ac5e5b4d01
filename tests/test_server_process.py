"""The server as a process: startup, rejected settings, and how it exits."""

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import requests

from runtime import version
from tests import fork_server
from tests.examples import core_of
from tests.processes import is_alive
from tests.served import COMMAND, ServerProcess, free_port, server_process, workers_of
from tests.waiting import TIMEOUT_S, until

GUNICORN = (sys.executable, "-m", "gunicorn", "--bind")


@pytest.fixture(scope="module")
def server(shared_environment: dict[str, str]) -> Iterator[ServerProcess]:
    """A server with one worker of two threads, which logs what it imports."""
    settings = {
        "SERVER_THREADS": "2",
        "SERVER_METRICS_PORT": free_port(),
        "CR_ENABLED": "false",
        "PYTHONPROFILEIMPORTTIME": "1",
    }
    with server_process({**shared_environment, **settings}, *COMMAND) as server:
        yield server


def run_server(environment: Mapping[str, str], *command: str) -> tuple[int, str]:
    """Exit status and output of a server that is expected to exit."""
    with server_process(environment, *command, is_up=False) as server:
        return server.wait_for_end(), server.logged()


@contextmanager
def idle_connections(server: ServerProcess, count: int) -> Iterator[None]:
    """Open connections without a request."""
    port = int(server.environment["SERVER_PORT"])
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
        yield


def metrics_folders(server: ServerProcess) -> set[Path]:
    """Folders of the metrics that workers share, of this server and of others with its TMP_DIR."""
    return set(Path(server.environment["TMP_DIR"]).glob("server-metrics-*"))


def test_it_responds_on_its_port(server: ServerProcess) -> None:
    assert server.get("/healthz").text == "ok\n"
    assert server.get("/readyz").json()["ready"] is True
    assert server.get("/api?what=get_info&db=production").json() == [None, None]
    assert server.get("/").ok


def test_it_dates_a_response_once(server: ServerProcess) -> None:
    for path in ("/", "/api/v1/clusters", "/healthz"):
        assert len(server.get(path).raw.headers.getlist("Date")) == 1


def test_it_warns_of_nothing_by_default(server: ServerProcess) -> None:
    assert not any(words in server.logged() for words in ("TLS", "not a setting", "can't be read"))


def test_it_holds_no_library_in_memory_that_only_other_programs_use(server: ServerProcess) -> None:
    imported = set(re.findall(r"^import time: .*\| +(\S+)$", server.logged(), flags=re.MULTILINE))
    assert "flask" in imported
    assert imported.isdisjoint({"alembic", "cryptography", "requests"})


def test_it_responds_while_idle_connections_outnumber_its_threads(server: ServerProcess) -> None:
    with idle_connections(server, 30):
        assert server.get("/healthz").ok


def test_others_cannot_read_the_folder_of_its_metrics(server: ServerProcess) -> None:
    [folder] = metrics_folders(server)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_it_replaces_a_worker_that_was_killed(server: ServerProcess) -> None:
    [worker] = workers_of(server)
    os.kill(worker, signal.SIGKILL)
    until(lambda: workers_of(server) not in ([], [worker]))
    until(server.is_up)


def test_a_killed_server_leaves_no_worker_and_the_next_one_deletes_its_metrics(
    server: ServerProcess, shared_environment: dict[str, str]
) -> None:
    others = metrics_folders(server)

    def another() -> dict[str, str]:
        return {**shared_environment, "SERVER_METRICS_PORT": free_port()}

    with server_process(another()) as killed:
        [left] = metrics_folders(killed) - others
        [worker] = workers_of(killed)
        killed.process.kill()
        until(lambda: not is_alive(worker))
        with server_process(another()):
            assert not left.exists()
            assert others < metrics_folders(server)
    assert server.samples()


def test_it_has_a_url_prefix_and_warns_of_doubtful_settings_once(
    environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "env"
    file.write_text("CMSWEB_CA_PATH=INSECURE-DO-NOT-VERIFY\nCR_PRODUCTOIN=false\n")
    Path(environment["SERVER_GRID_KEY_PATH"]).touch()
    settings = {
        "ENV_FILE": str(file),
        "SERVER_URL_PREFIX": "dqm/dqm-square",
        "SERVER_WORKERS": "2",
        "CMSWEB_HMAC_PATH": str(tmp_path / "none"),
    }
    with server_process({**environment, **settings}) as server:
        assert server.url.endswith("/dqm/dqm-square")
        assert server.get("/api?what=get_info&db=production").json() == [None, None]
        assert requests.get(server.url.replace("/dqm/dqm-square", "/readyz"), timeout=TIMEOUT_S).ok
        for warning in (
            "TLS is NOT verified",
            "CR_PRODUCTOIN, which is not a setting; did you mean CR_PRODUCTION?",
            "SERVER_GRID_CERT_PATH can't be read: No such file or directory",
            "CMSWEB_HMAC_PATH can't be read: No such file or directory",
        ):
            assert server.logged().count(warning) == 1
        assert "SERVER_GRID_KEY_PATH" not in server.logged()


@pytest.mark.parametrize("number", core_of([signal.SIGTERM, signal.SIGINT], signal.SIGTERM))
def test_it_exits_on_a_signal_with_connections_open(
    environment: dict[str, str], number: signal.Signals
) -> None:
    settings = {"SERVER_WORKERS": "2", "SERVER_METRICS_PORT": free_port()}
    with (
        server_process({**environment, **settings}) as server,
        requests.Session() as kept_alive,
        idle_connections(server, 3),
    ):
        response = kept_alive.get(f"{server.url}/healthz", timeout=TIMEOUT_S)
        assert "Connection" not in response.headers
        until(lambda: len(workers_of(server)) == 2)
        workers = workers_of(server)
        assert metrics_folders(server)
        server.process.send_signal(number)
        assert server.wait_for_end() == 0
        assert not any(map(is_alive, workers))
        assert metrics_folders(server) == set()


def test_it_prints_its_version(environment: dict[str, str]) -> None:
    process = fork_server.start("server", ["--version"], environment)
    output, _ = process.communicate(TIMEOUT_S)
    assert process.returncode == 0
    commit = r"unknown|[0-9a-f]{12}(-dirty)?"
    assert re.fullmatch(rf"DQM² Mirror {re.escape(version.NUMBER)} \(({commit})\)\n", output)


def test_it_reports_all_invalid_settings(environment: dict[str, str]) -> None:
    status, output = run_server({**environment, "SERVER_PORT": "port", "PSEUDONYM_SECRET": "CHANGEME"})
    assert status == 2
    assert sorted(line.split()[0] for line in output.splitlines()) == ["PSEUDONYM_SECRET", "SERVER_PORT"]


def test_it_rejects_a_temporary_directory_that_is_a_file(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, output = run_server({**environment, "TMP_DIR": str(tmp_path / "file")})
    assert status == 2
    assert output.splitlines()[-1].startswith("TMP_DIR can't be used: ")
    assert "Traceback" not in output


@pytest.mark.parametrize("setting", ["SERVER_PORT", "SERVER_METRICS_PORT"])
def test_it_names_a_port_that_is_taken(environment: dict[str, str], setting: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        status, output = run_server({**environment, setting: port})
    assert status == 2
    assert output.splitlines()[-1] == (
        f"{setting} is {port}, which can't be listened on: Address already in use"
    )


# The second is an address of documentation (RFC 5737), which no machine has.
@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
def test_it_names_a_host_that_is_not_local(environment: dict[str, str], host: str) -> None:
    status, output = run_server({**environment, "SERVER_HOST": host})
    assert status == 2
    assert f"SERVER_HOST is {host!r}, which is no address here" in output


@pytest.mark.long
def test_it_can_be_started_by_the_command_gunicorn(environment: dict[str, str]) -> None:
    port = free_port()
    command = (*GUNICORN, f"127.0.0.1:{port}", "server:create_app()")
    with server_process({**environment, "SERVER_PORT": port}, *command) as server:
        assert server.get("/readyz").ok


@pytest.mark.long
def test_it_reports_invalid_settings_if_started_by_the_command_gunicorn(environment: dict[str, str]) -> None:
    command = (*GUNICORN, f"127.0.0.1:{free_port()}", "server:create_app()")
    with server_process({**environment, "STUCK_AFTER_S": "never"}, *command, is_up=False) as server:
        assert server.wait_for_end() != 0
        assert "STUCK_AFTER_S is 'never'; accepted: an integer" in server.logged()
