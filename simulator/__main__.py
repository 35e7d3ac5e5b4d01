"""`python -m simulator`: serve both clusters until SIGTERM or SIGINT.

Prints the base URL on one line when it is ready. The exit status is 2 if it can't start.
"""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from dqmsquare_cfg import Cluster
from simulator.clients import CLIENTS
from simulator.control_commands import CommandMode
from simulator.runs import StoppedRun
from simulator.simulator import (
    DEFAULT_SECRET,
    GATEWAY_MACHINE,
    PLAYBACK_MACHINES,
    PRODUCTION_MACHINES,
    RUN_LENGTH,
    Simulator,
)

log = logging.getLogger("simulator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal and return the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        simulator = _simulator(options)
    except OSError as error:
        return _fail(f"cannot use {error.filename}: {error.strerror}")
    except KeyError as error:
        return _fail(f"unknown client {error}")
    try:
        simulator.start()
    except OSError as error:
        return _fail(f"cannot listen on --port {options.port}: {error.strerror}")
    try:
        sys.stdout.write(f"{simulator.base_url}\n")
        sys.stdout.flush()
        log.info("serving url=%s folder=%s", simulator.base_url, options.folder)
        stopping.wait()
    finally:
        simulator.stop()
    log.info("stopped")
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 2


def _simulator(options: argparse.Namespace) -> Simulator:
    return Simulator(
        options.folder,
        port=options.port,
        seed=options.seed,
        history=options.history,
        clients=options.clients,
        speed=options.speed,
        live=not options.paused,
        run_length=tuple(options.run_length),
        resume_after={
            cluster: run
            for cluster, run in zip(Cluster, options.resume_after, strict=True)
            if run is not None
        },
        secret=_secret(options.secret_file),
        mode=options.mode,
        production=options.production,
        playback=options.playback,
        gateway=options.gateway,
    )


def _secret(path: str | None) -> str:
    if path is None:
        return DEFAULT_SECRET
    return (sys.stdin.readline() if path == "-" else Path(path).read_text()).strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="folder for the certificates")
    add("--port", type=int, default=0, help="port on the loopback interface; 0 picks a free one")
    add("--seed", type=int, default=1, help="seed of the generated data")
    add("--speed", type=_positive, default=1.0, help="speed relative to data taking")
    add("--history", type=int, default=25, help="number of past runs per cluster")
    add("--run-length", type=int, nargs=2, default=RUN_LENGTH, metavar=("MIN", "MAX"), help="lumisections")
    resumed = "last runs of an earlier simulator: number,start,stop with times in unix seconds; - for none"
    add(
        "--resume-after",
        type=_stopped_run,
        nargs=2,
        default=(None, None),
        metavar=tuple(Cluster),
        help=resumed,
    )
    add("--clients", type=_list, default=None, help=f"comma-separated names; all {len(CLIENTS)} by default")
    add("--paused", action="store_true", help="no runs until the admin endpoint starts some")
    add("--mode", choices=list(CommandMode), default=CommandMode.DOCUMENTED, help="of the control commands")
    add("--secret-file", metavar="FILE", help="file with the cookie's secret; - for stdin")
    machines = "machines separated by semicolons, builder unit first"
    add("--production", type=_machines, default=PRODUCTION_MACHINES, help=machines)
    add("--playback", type=_machines, default=PLAYBACK_MACHINES, help=machines)
    add("--gateway", default=GATEWAY_MACHINE, help="machine that relays to the others")
    return parser


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _machines(text: str) -> list[str]:
    machines = [part.strip() for part in text.split(";") if part.strip()]
    if not machines:
        raise argparse.ArgumentTypeError("expected at least one machine")
    return machines


def _stopped_run(text: str) -> StoppedRun | None:
    if text == "-":
        return None
    number, started_at, stopped_at = text.split(",")
    return StoppedRun(int(number), float(started_at), float(stopped_at))


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


if __name__ == "__main__":
    sys.exit(main())
