"""The server as the process that it is in production: how it starts, refuses to, and ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import requests

from runtime import version
from tests.processes import is_alive
from tests.served import ROOT, ServerProcess, free_port, server_process, workers_of
from tests.waiting import until


def run_server(environment: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "server.py", *arguments],
        cwd=ROOT,
        env={"SERVER_PORT": free_port(), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_it_answers_on_its_port(environment: dict[str, str]) -> None:
    with server_process(environment) as server:
        assert server.get("/healthz").text == "ok\n"
        assert server.get("/readyz").json()["ready"] is True
        assert server.get("/api?what=get_info&db=production").json() == [None, None]
        assert server.get("/").ok


def test_it_answers_below_the_prefix(environment: dict[str, str]) -> None:
    with server_process({**environment, "SERVER_URL_PREFIX": "dqm/dqm-square"}) as server:
        assert server.url.endswith("/dqm/dqm-square")
        assert server.get("/api?what=get_info&db=production").json() == [None, None]
        assert requests.get(server.url.replace("/dqm/dqm-square", "/readyz"), timeout=10).ok


def test_it_tells_its_version(environment: dict[str, str]) -> None:
    reported = run_server(environment, "--version")
    assert reported.returncode == 0
    commit = r"unknown|[0-9a-f]{12}(-dirty)?"
    assert re.fullmatch(rf"DQM² Mirror {re.escape(version.NUMBER)} \(({commit})\)\n", reported.stdout)


def test_it_refuses_bad_settings_all_at_once(environment: dict[str, str]) -> None:
    refused = run_server({**environment, "SERVER_PORT": "port", "PSEUDONYM_SECRET": "CHANGEME"})
    assert refused.returncode == 2
    lines = refused.stderr.splitlines()
    assert sorted(line.split()[0] for line in lines) == ["PSEUDONYM_SECRET", "SERVER_PORT"]


def test_it_refuses_a_temporary_directory_that_is_a_file(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = run_server({**environment, "TMP_DIR": str(tmp_path / "file")})
    assert refused.returncode == 2
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("TMP_DIR can't be used: ")
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("setting", ["SERVER_PORT", "SERVER_METRICS_PORT"])
def test_it_names_a_port_that_is_taken(environment: dict[str, str], setting: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        refused = run_server({**environment, setting: port})
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        f"{setting} is {port}, which can't be listened on: Address already in use"
    )


def test_it_names_a_host_that_is_not_here(environment: dict[str, str]) -> None:
    refused = run_server({**environment, "SERVER_HOST": "nowhere.invalid"})
    assert refused.returncode == 2
    assert "SERVER_HOST is 'nowhere.invalid', which is no address here" in refused.stderr


def test_it_warns_at_its_start_of_what_is_hardly_meant(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("CMSWEB_CA_PATH=INSECURE-DO-NOT-VERIFY\nCR_PRODUCTOIN=false\n")
    with server_process({**environment, "ENV_FILE": str(file)}) as server:
        assert server.logged().count("TLS is NOT verified") == 1
        assert (
            server.logged().count("CR_PRODUCTOIN, which is not a setting; did you mean CR_PRODUCTION?") == 1
        )
    with server_process(environment) as server:
        assert "TLS" not in server.logged()
        assert "no setting" not in server.logged()


def test_it_names_at_its_start_the_files_that_the_control_room_lacks(
    environment: dict[str, str], tmp_path: Path
) -> None:
    Path(environment["SERVER_GRID_KEY_PATH"]).touch()
    given = {**environment, "CMSWEB_HMAC_PATH": str(tmp_path / "none"), "SERVER_WORKERS": "2"}
    lacking = "{} can't be read: No such file or directory"
    with server_process(given) as server:
        assert server.get("/healthz").ok
        for setting in ("SERVER_GRID_CERT_PATH", "CMSWEB_HMAC_PATH"):
            assert server.logged().count(lacking.format(setting)) == 1
        assert "SERVER_GRID_KEY_PATH" not in server.logged()
    with server_process({**given, "CR_ENABLED": "false"}) as server:
        assert "can't be read" not in server.logged()


@contextmanager
def idle_connections(server: ServerProcess, count: int) -> Iterator[None]:
    port = int(server.environment["SERVER_PORT"])
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
        yield


def test_it_serves_while_connections_are_open_that_ask_nothing(environment: dict[str, str]) -> None:
    with server_process({**environment, "SERVER_THREADS": "2"}) as server, idle_connections(server, 30):
        assert requests.get(f"{server.url}/healthz", timeout=2).ok


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_time_with_connections_open(environment: dict[str, str], ending: signal.Signals) -> None:
    with (
        server_process({**environment, "SERVER_WORKERS": "2"}) as server,
        requests.Session() as kept,
        idle_connections(server, 3),
    ):
        assert "Connection" not in kept.get(f"{server.url}/healthz", timeout=10).headers
        until(lambda: len(workers_of(server)) == 2)
        workers = workers_of(server)
        server.process.send_signal(ending)
        # By itself within 5 s; a machine that is busy with other tests may need longer.
        assert server.process.wait(timeout=20) == 0
        assert not any(map(is_alive, workers))


def test_it_replaces_a_worker_that_was_killed(environment: dict[str, str]) -> None:
    with server_process(environment) as server:
        [worker] = workers_of(server)
        os.kill(worker, signal.SIGKILL)
        until(lambda: workers_of(server) not in ([], [worker]))
        until(server.is_up)


def test_it_leaves_no_worker_behind_when_it_is_killed(environment: dict[str, str]) -> None:
    with server_process(environment) as server:
        [worker] = workers_of(server)
        server.process.kill()
        until(lambda: not is_alive(worker), within_s=5)


def test_it_keeps_no_file_of_its_metrics(environment: dict[str, str]) -> None:
    folder = Path(environment["TMP_DIR"])
    with server_process({**environment, "SERVER_METRICS_PORT": free_port()}) as server:
        [shared] = folder.glob("server-metrics-*")
        assert shared.stat().st_mode & 0o777 == 0o700
        assert server.get("/healthz").ok
    assert not shared.exists()


def test_it_clears_away_what_a_killed_server_counted_but_not_what_another_counts(
    environment: dict[str, str],
) -> None:
    folder = Path(environment["TMP_DIR"])

    def counted() -> set[Path]:
        return set(folder.glob("server-metrics-*"))

    with ExitStack() as stack:

        def started() -> ServerProcess:
            return stack.enter_context(
                server_process(
                    {**environment, "SERVER_METRICS_PORT": free_port(), "SERVER_PORT": free_port()}
                )
            )

        killed = started()
        [left] = counted()
        other = started()
        [others] = counted() - {left}
        [worker] = workers_of(killed)
        killed.process.kill()
        until(lambda: not is_alive(worker))
        started()
        assert not left.exists()
        assert others.exists()
        assert other.samples()


def test_it_works_under_gunicorns_own_command(environment: dict[str, str]) -> None:
    port = free_port()
    command = (sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "server:create_app()")
    with server_process({**environment, "SERVER_PORT": port}, *command) as server:
        assert server.get("/readyz").ok


def test_it_says_under_gunicorns_own_command_what_does_not_hold(environment: dict[str, str]) -> None:
    command = (sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{free_port()}", "server:create_app()")
    with server_process({**environment, "STUCK_AFTER_S": "never"}, *command, is_up=False) as server:
        assert server.wait_for_end() != 0
        assert "STUCK_AFTER_S is 'never'; accepted: an integer" in server.logged()
