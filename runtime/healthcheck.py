"""Whether the programs of the mirror that run on this machine are well: `python dqmsquare_mirror.py probe`.

Each port of the settings where something of the mirror may answer is asked for `/healthz`. Nobody there is no
trouble, for not every program runs everywhere; nobody anywhere is. Docker's HEALTHCHECK, and an operator.
"""

import argparse
import http.client
import sys
from contextlib import closing

import dqmsquare_cfg
from dqmsquare_cfg import Cluster, Settings

_TIMEOUT_S = 5.0
_PATH = "/healthz"
# An address to listen on that stands for every one of the machine, and one of those.
_OWN_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is listened on here


def main(arguments: list[str] | None = None) -> int:
    """A line for each program that runs here; 0 if there is one and all are well, else 1."""
    parser = argparse.ArgumentParser(
        prog="probe", description="Asks the programs that run here how they are."
    )
    parser.parse_args(arguments)
    settings = dqmsquare_cfg.load_or_exit()
    found = {name: ask(settings.server_host, port) for name, port in _ports(settings).items() if port}
    told = {name: status for name, status in found.items() if status is not None}
    for name, status in told.items():
        sys.stdout.write(f"{name}: {'well' if status == http.client.OK else f'not well, status {status}'}\n")
    if not told:
        sys.stdout.write("nothing of the mirror answers here\n")
    return 0 if told and set(told.values()) == {http.client.OK} else 1


def ask(host: str, port: int) -> int | None:
    """The status with which a program answers for its health; None if it doesn't answer."""
    address = _OWN_ADDRESS.get(host, host)
    with closing(http.client.HTTPConnection(address, port, timeout=_TIMEOUT_S)) as connection:
        try:
            connection.request("GET", _PATH)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def _ports(settings: Settings) -> dict[str, int]:
    grabbers = {f"{cluster} grabber": settings.grabber_metrics_port(cluster) for cluster in Cluster}
    return {"server": settings.server_port, **grabbers}
