"""The grabber as a process: signals, exit status, and waiting for the lock."""

import signal
import subprocess
import sys
from contextlib import closing

import pytest

import db
from dqmsquare_cfg import Settings
from simulator.documents import job_document
from simulator.fault_injection import FaultKind
from simulator.http_types import Request
from simulator.simulator import Simulator
from tests.examples import long
from tests.grabber_runner import FEW, FILTER_UNIT, MANY, ROOT, count_rows, grabber_process, rows, wait_for_log
from tests.log_files import read_log
from tests.served import free_port
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres

# Ctrl-C that is pressed again while the first one is being obeyed.
STOPPED_TWICE = f"""
import logging, os, signal, threading
from grabbing import stop_event
taken = threading.Semaphore(0)
logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()])
logging.getLogger().handlers[0].handle = lambda record: taken.release()
stop_event.stop_on_signals()
for _ in range(2):
    os.kill(os.getpid(), signal.SIGINT)
    if not taken.acquire(timeout={TIMEOUT_S}):
        os._exit(1)
os._exit(0)
"""
# Lets a thread take each signal, as one that starts a process does for a moment, each in a forked process.
# Prints the exit status of these, and what becomes of SIGHUP under nohup.
STOPPED = """
import os, signal, threading
from grabbing import stop_event
def stop_by(number):
    def take():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_kill(threading.get_ident(), number)
    signal.signal(number, signal.SIG_DFL)
    stop = stop_event.stop_on_signals()
    threading.Thread(target=take).start()
    return stop.wait(100)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    if not (pid := os.fork()):
        os._exit(0 if stop_by(number) else 1)
    print(number.name, os.waitpid(pid, 0)[1])
signal.signal(signal.SIGHUP, signal.SIG_IGN)
stop_event.stop_on_signals()
print(signal.getsignal(signal.SIGHUP).name)
"""


def test_it_exits_with_0_after_a_pass_that_mirrored_every_machine(
    simulator: Simulator, simulated_environment: dict[str, str], simulated_settings: Settings
) -> None:
    simulator.machine(FILTER_UNIT).upload(job_document())
    with grabber_process(simulated_environment, "production", "--once", forked=False) as grabber:
        assert grabber.wait(timeout=TIMEOUT_S) == 0
    assert count_rows(simulated_settings, db.jobs) == 1


def test_it_exits_with_1_after_a_pass_that_missed_a_machine(
    simulator: Simulator, simulated_environment: dict[str, str]
) -> None:
    simulator.machine(FILTER_UNIT).is_dead = True
    with grabber_process(simulated_environment, "production", "--once") as grabber:
        assert grabber.wait(timeout=TIMEOUT_S) == 1


def test_it_aborts_a_pass_when_the_gateway_fails_for_two_machines(
    environment: dict[str, str],
) -> None:
    with grabber_process(environment, "production", "--once") as grabber:
        output, _ = grabber.communicate(timeout=TIMEOUT_S)
    assert grabber.returncode == 1
    failures = [line.partition(" gateway_failed ")[2] for line in output.splitlines() if "_failed " in line]
    missing = 'reason="SERVER_GRID_CERT_PATH can\'t be read: No such file or directory"'
    assert failures == [f"cluster=production failures={failures} {missing}" for failures in (1, 2)]


def test_it_mirrors_both_clusters_without_an_argument(
    simulator: Simulator, simulated_environment: dict[str, str], simulated_settings: Settings
) -> None:
    with grabber_process(simulated_environment, "--once") as grabber:
        assert grabber.wait(timeout=TIMEOUT_S) == 0
    requested_hosts = {
        value for request in simulator.requests for name, value in request.query if name == "path"
    }
    others = set(simulated_settings.known_hosts) - {simulated_settings.server_fff_machine}
    assert requested_hosts == others


# Both signals have one handler; Kubernetes and systemd send the first.
@pytest.mark.parametrize(
    ("end", "documents"),
    [
        (signal.SIGTERM, FEW),
        long(signal.SIGINT, FEW),
        long(signal.SIGTERM, MANY),
    ],
)
def test_it_finishes_the_current_batch_on_a_signal(
    simulator: Simulator,
    simulated_environment: dict[str, str],
    simulated_settings: Settings,
    end: signal.Signals,
    documents: int,
) -> None:
    simulator.fill(FILTER_UNIT, documents, small=True)
    with grabber_process(simulated_environment, "production") as grabber:

        def end_once_stored(_request: Request) -> None:
            if count_rows(simulated_settings, db.jobs):
                simulator.on_request = lambda _request: None
                grabber.send_signal(end)

        simulator.on_request = end_once_stored
        assert grabber.wait(timeout=TIMEOUT_S) == 0
    (machine,) = (row for row in rows(simulated_settings, db.machines) if row["revision"])
    assert count_rows(simulated_settings, db.jobs) == machine["revision"] < documents


def test_it_stops_on_a_signal_that_any_thread_takes_and_goes_on_under_nohup() -> None:
    command = [sys.executable, "-c", STOPPED]
    done = subprocess.run(command, cwd=ROOT, timeout=TIMEOUT_S, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["SIGTERM 0", "SIGINT 0", "SIGHUP 0", "SIG_IGN"]


def test_it_takes_further_signals_without_a_traceback() -> None:
    command = [sys.executable, "-c", STOPPED_TWICE]
    done = subprocess.run(command, cwd=ROOT, timeout=TIMEOUT_S, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_exits_while_the_gateway_hangs(
    simulator: Simulator, simulated_environment: dict[str, str]
) -> None:
    simulator.faults.add(FaultKind.LATENCY, 60)
    with grabber_process(simulated_environment, "production") as grabber:
        wait_for_log(grabber, "lock_acquired cluster")
        grabber.terminate()
        assert grabber.wait(timeout=TIMEOUT_S) == 0


def test_it_exits_while_it_waits_for_its_database(environment: dict[str, str]) -> None:
    given = {**environment, "POSTGRES_PORT": str(free_port())}
    with grabber_process(given, "production") as grabber:
        wait_for_log(grabber, "database_unavailable")
        grabber.terminate()
        assert grabber.wait(timeout=TIMEOUT_S) == 0


def test_a_second_grabber_waits_and_takes_over(
    simulator: Simulator, simulated_environment: dict[str, str], simulated_settings: Settings
) -> None:
    with grabber_process(simulated_environment, "production") as first:
        until(lambda: simulator.requests)
        with grabber_process(simulated_environment, "production", "--once") as passing:
            output, _ = passing.communicate(timeout=TIMEOUT_S)
        assert passing.returncode == 1
        assert "another grabber holds" in output
        with grabber_process(simulated_environment, "production") as second:
            wait_for_log(second, "another grabber holds")
            with grabber_process(simulated_environment, "production") as third:
                wait_for_log(third, "another grabber holds")
                third.terminate()
                assert third.wait(timeout=TIMEOUT_S) == 0
            first.kill()
            first.wait(timeout=TIMEOUT_S)
            simulator.machine(FILTER_UNIT).upload(job_document(run=7))
            until(lambda: count_rows(simulated_settings, db.jobs))


def test_it_rejects_a_database_created_with_another_secret(
    simulated_environment: dict[str, str],
) -> None:
    with grabber_process(simulated_environment, "production", "--once") as grabber:
        assert grabber.wait(timeout=TIMEOUT_S) == 0
    changed = {**simulated_environment, "PSEUDONYM_SECRET": "another-secret-altogether"}
    with grabber_process(changed, "production") as grabber:
        output, _ = grabber.communicate(timeout=TIMEOUT_S)
    assert grabber.returncode == 1
    assert "PSEUDONYM_SECRET" in output
    assert "another-secret-altogether" not in output


def test_it_logs_an_unexpected_error_redacted(
    simulated_environment: dict[str, str], simulated_settings: Settings, postgres: EmbeddedPostgres
) -> None:
    with grabber_process(simulated_environment, "production", "--once") as grabber:
        assert grabber.wait(timeout=TIMEOUT_S) == 0
    corrupt_heartbeat = (
        """UPDATE heartbeat SET links = jsonb_set(links, '{machines}', '{"dqmfu-c2b03-45-01.cms": []}')"""
    )
    with closing(postgres.connect(simulated_settings.postgres_production_db_name)) as connection:
        connection.cursor().execute(corrupt_heartbeat)
    with grabber_process(simulated_environment, "production") as grabber:
        output, _ = grabber.communicate(timeout=TIMEOUT_S)
    assert grabber.returncode == 1
    assert "CRITICAL uncaught exception_uncaught error=ValueError" in output
    assert "Traceback" in read_log(simulated_settings, "grabber-production")
    assert FILTER_UNIT not in output


def test_it_rejects_invalid_settings_by_name(environment: dict[str, str]) -> None:
    bad = {**environment, "POSTGRES_PORT": "many", "DQM_FFF_SECRET": "CHANGEME"}
    with grabber_process(bad, "production") as grabber:
        output, _ = grabber.communicate(timeout=TIMEOUT_S)
    assert grabber.returncode == 2
    assert [line.split()[0] for line in output.splitlines()] == ["POSTGRES_PORT", "DQM_FFF_SECRET"]
    assert "CHANGEME" not in output
