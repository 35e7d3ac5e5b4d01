"""`make demo`: PostgreSQL, a simulated DQM², both grabbers and the web server, started and ended together.

It says what it does, a line a step. Exit status: 0 if it was told to end, 1 if something could not be
started or ended by itself, 2 for an option that is bad or a port that is taken.
"""

import http.client
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
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
from storage.reader import MirrorReader
from tools import frontend_libs
from tools.demo import data_dir, options
from tools.demo.data_dir import FolderError
from tools.demo.options import HOST, POSTGRES_PORT, Options, OptionsError
from tools.demo.postgres import EmbeddedPostgres
from tools.demo.process_specs import CONTROL_ROOM_USER, PAST_RUNS, Programs

_CLONE = Path(__file__).resolve().parents[2]
_READY_WITHIN_S = 60.0
_FILLED_WITHIN_S = 120.0
_ANSWER_WITHIN_S = 0.5
# Where a job of `get_run` has its exit code.
_EXIT_CODE = 3
# Together with PostgreSQL's share within the 5 s that Ctrl-C promises.
_STOP_WITHIN_S = 2.5


def main() -> int:
    """Runs the demo until it is told to end."""
    try:
        with StopSignals() as signals:
            chosen = options.read(os.environ, _CLONE)
            with data_dir.held(chosen.folder):
                options.refuse_taken_ports(chosen.ports)
                run(chosen, signals)
    except StopRequested:
        say("everything has ended")
        return 0
    except OptionsError as error:
        complain(error.lines)
        return 2
    except (FolderError, ProcessError, OSError) as error:
        complain([str(error)])
        return 1


def run(chosen: Options, signals: StopSignals) -> NoReturn:
    """Starts everything and watches it. Raises StopRequested when told to end, else ProcessError."""
    if not frontend_libs.is_up_to_date():
        raise ProcessError("the front-end libraries are missing; run make install")
    started_at = time.monotonic()
    say(f"DQM² Mirror's demo, on this machine alone; what it keeps is in {chosen.folder}")
    say(f"PostgreSQL on {HOST}:{chosen.ports[POSTGRES_PORT]}")
    postgres = EmbeddedPostgres(
        chosen.folder / "postgres", port=chosen.ports[POSTGRES_PORT], pause=signals.wait
    )
    with postgres, ProcessGroup(stop_timeout_s=_STOP_WITHIN_S) as processes:
        programs = Programs(_CLONE, chosen, postgres, os.environ)
        newest_runs = prepare_databases(postgres, programs)
        start(processes, programs, newest_runs, signals, postgres.process)
        say_where(programs, time.monotonic() - started_at)
        watch([postgres.process, *processes], signals)


def prepare_databases(postgres: EmbeddedPostgres, programs: Programs) -> dict[Cluster, int]:
    """Makes the clusters' databases, up to date; returns the newest run that each knows, 0 for none."""
    settings = dqmsquare_cfg.load(programs.environment)
    newest_runs = {}
    for cluster in Cluster:
        postgres.create_database(settings.database(cluster))
        database = db.engine(settings, cluster, "demo")
        db.migrate(database)
        reader = MirrorReader(database, timedelta(seconds=settings.stuck_after_s))
        newest_runs[cluster] = reader.run_span().highest or 0
        database.dispose()
    return newest_runs


def start(
    processes: ProcessGroup,
    programs: Programs,
    newest_runs: Mapping[Cluster, int],
    signals: StopSignals,
    postgres: Process,
) -> None:
    """Starts the mirror's processes and what they mirror; returns when the page shows what is new."""
    say(f"simulated DQM² at {programs.dqm2_url}, its time {programs.speed} times as fast")
    simulator = processes.start(programs.simulator(newest_runs))
    wait_until_ready(
        lambda: programs.dqm2_url in "\n".join(simulator.tail()),
        simulator,
        signals,
        timeout_s=_READY_WITHIN_S,
        dependencies=[postgres],
    )
    for cluster in Cluster:
        say(f"grabber of the {cluster} cluster")
        processes.start(programs.grabber(cluster))
    say("web server")
    server = processes.start(programs.server())
    wait_until_ready(
        lambda: answer(programs.server_port, "/readyz") is not None,
        server,
        signals,
        timeout_s=_READY_WITHIN_S,
        dependencies=[postgres, *processes],
    )
    say(f"{PAST_RUNS} runs of each cluster are mirrored, and one that goes on")
    wait_until_ready(
        lambda: all(shows_a_new_run(programs.server_port, *known) for known in newest_runs.items()),
        server,
        signals,
        timeout_s=_FILLED_WITHIN_S,
        dependencies=[postgres, *processes],
    )


def shows_a_new_run(port: int, cluster: Cluster, known: int) -> bool:
    """Whether the web server has a run of a cluster that was not `known` and goes on: jobs of it run."""
    info = answer(port, f"/api?what=get_info&db={cluster}")
    newest = json.loads(info)[1] if info else None
    if newest is None or newest <= known:
        return False
    run = answer(port, f"/api?what=get_run&db={cluster}&run={newest}")
    return run is not None and any(job[_EXIT_CODE] is None for job in json.loads(run)[1][1])


def answer(port: int, path: str) -> bytes | None:
    """What the web server answers, if it is there and content; no proxy stands between."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=_ANSWER_WITHIN_S)) as connection:
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return None
    return body if response.status == http.HTTPStatus.OK else None


def say_where(programs: Programs, seconds: float) -> None:
    """The last lines: where to look, and how to enter the Control Room."""
    page = f"http://{HOST}:{programs.server_port}/"
    say(f"ready after {seconds:.0f} s; Ctrl-C ends it")
    say("")
    say(f"  The mirror    {page}")
    say(f"  Control Room  {page}cr/  user {CONTROL_ROOM_USER}, password {programs.control_room_password}")


def say(line: str) -> None:
    """A line for whoever watches, at once also where the output is a file."""
    print(line, flush=True)


def complain(lines: Sequence[str]) -> None:
    """Why it did not run on."""
    print("\n".join(lines), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
