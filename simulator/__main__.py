"""`python -m simulator`: both clusters, served until SIGTERM or SIGINT.

Prints the base URL on a line of its own once it serves. Exit status 2 if it can't.
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
from simulator.control_commands import Mode
from simulator.simulator import GATEWAY, PLAYBACK, PRODUCTION, RUN_LENGTH, SECRET, Simulator

log = logging.getLogger("simulator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until a signal; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        simulator = _simulator(options)
    except OSError as error:
        return _refuse(f"the simulator can't use {error.filename}: {error.strerror}")
    except KeyError as error:
        return _refuse(f"the simulator has no client {error}")
    try:
        simulator.start()
    except OSError as error:
        return _refuse(f"the simulator can't serve on --port {options.port}: {error.strerror}")
    try:
        sys.stdout.write(f"{simulator.base_url}\n")
        sys.stdout.flush()
        log.info("serving url=%s folder=%s", simulator.base_url, options.folder)
        stopping.wait()
    finally:
        simulator.stop()
    log.info("ended")
    return 0


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return 2


def _simulator(options: argparse.Namespace) -> Simulator:
    return Simulator(
        options.folder,
        port=options.port,
        seed=options.seed,
        history=options.history,
        clients=options.clients,
        speed=options.speed,
        live=not options.still,
        run_length=tuple(options.run_length),
        resume_after=dict(zip(Cluster, options.resume_after, strict=True)),
        secret=_secret(options.secret_file),
        mode=options.mode,
        production=options.production,
        playback=options.playback,
        gateway=options.gateway,
    )


def _secret(path: str | None) -> str:
    if path is None:
        return SECRET
    return (sys.stdin.readline() if path == "-" else Path(path).read_text()).strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="keeps the certificates")
    add("--port", type=int, default=0, help="of the loopback; 0: any free one")
    add("--seed", type=int, default=1, help="what everything is drawn from")
    add("--speed", type=_positive, default=1.0, help="times as fast as data taking")
    add("--history", type=int, default=25, help="finished runs a cluster")
    add("--run-length", type=int, nargs=2, default=RUN_LENGTH, metavar=("LEAST", "MOST"), help="lumisections")
    add(
        "--resume-after", type=int, nargs=2, default=(0, 0), metavar=tuple(Cluster), help="runs that are over"
    )
    add("--clients", type=_list, default=None, help=f"names by commas; {len(CLIENTS)} by default")
    add("--still", action="store_true", help="nothing moves unless it is told to")
    add("--mode", choices=list(Mode), default=Mode.ANNOUNCED, help="how control commands are answered")
    add("--secret-file", metavar="FILE", help="holds the cookie's secret; -: a line of standard input")
    add("--production", type=_machines, default=PRODUCTION, help="machines by semicolons, builder unit first")
    add("--playback", type=_machines, default=PLAYBACK, help="machines by semicolons, builder unit first")
    add("--gateway", default=GATEWAY, help="the machine that relays to the others")
    return parser


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _machines(text: str) -> list[str]:
    machines = [part.strip() for part in text.split(";") if part.strip()]
    if not machines:
        raise argparse.ArgumentTypeError("names no machine")
    return machines


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
