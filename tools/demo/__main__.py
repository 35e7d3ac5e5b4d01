"""`make demo`: PostgreSQL, a simulated DQM², both grabbers and the web server, started and stopped together.

Prints a line per step. Exit status: 0 after a stop signal, 1 if a process failed to start or exited, 2 for
invalid options or ports that are taken.
"""

import argparse
import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import db
import dqmsquare_cfg
from dqmsquare_cfg import Cluster
from runtime.supervisor import (
    Process,
    ProcessError,
    ProcessGroup,
    StopRequested,
    StopSignals,
    wait_until_ready,
    watch,
)
from simulator.runs import StoppedRun
from storage.job_state import StateRules
from storage.log_dictionaries import DictionaryStore
from storage.reader import MirrorReader
from storage.schema import migrate
from tools import frontend_libs
from tools.demo import data_dir, process_specs
from tools.demo.data_dir import FolderError
from tools.demo.postgres import EmbeddedPostgres
from tools.demo.process_specs import (
    CONTROL_ROOM_USER,
    HOST,
    POSTGRES_PORT,
    DemoProcesses,
    Options,
    OptionsError,
)

_ROOT = Path(__file__).resolve().parents[2]
_READY_TIMEOUT_S = 60.0
_FILLED_TIMEOUT_S = 120.0
_REQUEST_TIMEOUT_S = 0.5
# Index of the exit code in a job of `get_run`.
_EXIT_CODE = 3
# Together with PostgreSQL's timeout less than the documented 5 s.
_STOP_TIMEOUT_S = 2.5


def main() -> int:
    """Run the demo until a stop signal."""
    parse_command_line()
    try:
        with StopSignals() as signals:
            chosen = process_specs.parse(os.environ, _ROOT)
            with data_dir.locked(chosen.folder):
                process_specs.check_ports(chosen.ports)
                run(chosen, signals)
    except StopRequested:
        log("all processes have stopped")
        return 0
    except OptionsError as error:
        print_errors(error.lines)
        return 2
    except (FolderError, ProcessError, OSError) as error:
        print_errors([str(error)])
        return 1


def parse_command_line() -> None:
    """Print the help if it is asked for; exits with status 2 if there are arguments."""
    argparse.ArgumentParser(
        prog="make demo",
        description="Run PostgreSQL, a simulated DQM², both grabbers and the web server; Ctrl-C stops them.",
        epilog=process_specs.describe_variables(_ROOT),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()


def run(chosen: Options, signals: StopSignals) -> NoReturn:
    """Start all processes and watch them. Raises StopRequested or ProcessError."""
    if not frontend_libs.is_up_to_date():
        raise ProcessError("the front-end libraries are missing; run make install")
    started_at = time.monotonic()
    log(f"DQM² Mirror demo, reachable from this machine only; data directory: {chosen.folder}")
    log(f"starting PostgreSQL on {HOST}:{chosen.ports[POSTGRES_PORT]}")
    postgres = EmbeddedPostgres(
        chosen.folder / "postgres", port=chosen.ports[POSTGRES_PORT], pause=signals.wait
    )
    with postgres, ProcessGroup(stop_timeout_s=_STOP_TIMEOUT_S) as processes:
        demo = DemoProcesses(_ROOT, chosen, postgres, os.environ)
        last_runs = prepare_databases(postgres, demo)
        start(processes, demo, last_runs, signals, postgres.process)
        log_addresses(demo, time.monotonic() - started_at)
        watch([postgres.process, *processes], signals)


def prepare_databases(postgres: EmbeddedPostgres, demo: DemoProcesses) -> dict[Cluster, StoppedRun]:
    """Create and migrate the clusters' databases; returns the last run of those that have any."""
    settings = dqmsquare_cfg.load(demo.environment)
    last_runs = {}
    for cluster in Cluster:
        postgres.create_database(settings.database(cluster))
        database = db.engine(settings, cluster, "demo")
        migrate(database)
        rules = StateRules.for_cluster(settings, cluster)
        reader = MirrorReader(database, rules, DictionaryStore(database))
        if (last := last_run(reader)) is not None:
            last_runs[cluster] = last
        database.dispose()
    return last_runs


def last_run(reader: MirrorReader) -> StoppedRun | None:
    """The newest run of a database, which stopped with its last report; `None` if there is none."""
    number = reader.runs.span().highest
    run = None if number is None else reader.runs.get(number)
    # The start of a run that had just begun is not known.
    if run is None or run.first_seen_at is None or run.updated_at is None:
        return None
    started_at = run.started_at or run.first_seen_at
    return StoppedRun(run.run, started_at.timestamp(), run.updated_at.timestamp())


def start(
    processes: ProcessGroup,
    demo: DemoProcesses,
    last_runs: Mapping[Cluster, StoppedRun],
    signals: StopSignals,
    postgres: Process,
) -> None:
    """Start simulator, grabbers and server; returns when the pages show a new run of each cluster."""

    def wait(process: Process, is_ready: Callable[[], bool], timeout_s: float = _READY_TIMEOUT_S) -> None:
        dependencies = [postgres, *processes]
        wait_until_ready(is_ready, process, signals, timeout_s=timeout_s, dependencies=dependencies)

    log(f"starting simulated DQM² at {demo.dqm2_url}, {demo.speed} times as fast as real time")
    simulator = processes.start(demo.simulator(last_runs))
    wait(simulator, lambda: demo.dqm2_url in "\n".join(simulator.tail()))
    for cluster in Cluster:
        log(f"starting the grabber of the {cluster} cluster")
        processes.start(demo.grabber(cluster))
    log("starting the web server")
    server = processes.start(demo.server())
    wait(server, lambda: get(demo.server_port, "/readyz") is not None)
    newest = {cluster: last_runs[cluster].number if cluster in last_runs else 0 for cluster in Cluster}
    log("waiting until an ongoing run of each cluster is mirrored")
    wait(
        server,
        lambda: all(shows_new_run(demo.server_port, *known) for known in newest.items()),
        _FILLED_TIMEOUT_S,
    )


def shows_new_run(port: int, cluster: Cluster, known: int) -> bool:
    """Whether the server has a run newer than `known` with a running job."""
    info = get(port, f"/api?what=get_info&db={cluster}")
    newest = json.loads(info)[1] if info else None
    if newest is None or newest <= known:
        return False
    run = get(port, f"/api?what=get_run&db={cluster}&run={newest}")
    return run is not None and any(job[_EXIT_CODE] is None for job in json.loads(run)[1][1])


def get(port: int, path: str) -> bytes | None:
    """Body of a successful response of the web server, without a proxy; `None` otherwise."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=_REQUEST_TIMEOUT_S)) as connection:
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return None
    return body if response.status == http.HTTPStatus.OK else None


def log_addresses(demo: DemoProcesses, seconds: float) -> None:
    """Print the addresses of the pages and the login of the Control Room."""
    page = f"http://{HOST}:{demo.server_port}/"
    log(f"ready after {seconds:.0f} s; press Ctrl-C to stop")
    log("")
    log(f"  The mirror    {page}")
    log(f"  Control Room  {page}cr/  user {CONTROL_ROOM_USER}, password {demo.control_room_password}")


def log(line: str) -> None:
    """Print a line immediately, even if the output is a file."""
    print(line, flush=True)


def print_errors(lines: Sequence[str]) -> None:
    """Print each line to stderr."""
    print("\n".join(lines), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
