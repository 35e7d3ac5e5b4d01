"""Health check of the mirror's programs on this machine: `python dqmsquare_mirror.py healthcheck`.

Requests `/healthz` on the configured ports of the server and the grabbers. A program that does not listen is
not an error, because containers run one each, but at least one has to. For Docker's HEALTHCHECK and for
operators.
"""

import argparse
import http.client
import sys
from contextlib import closing

import dqmsquare_cfg
from dqmsquare_cfg import Cluster, Settings

_TIMEOUT_S = 5.0
_PATH = "/healthz"
# Loopback addresses for the wildcard addresses.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - connected to, not listened on


def main(arguments: list[str] | None = None) -> int:
    """Print a line per running program; exit status 0 if there is one and all are healthy, else 1."""
    parser = argparse.ArgumentParser(
        prog="healthcheck", description="Check the health of the mirror's programs on this machine."
    )
    parser.parse_args(arguments)
    settings = dqmsquare_cfg.load_or_exit()
    statuses = {
        name: get_status(settings.server_host, port) for name, port in _ports(settings).items() if port
    }
    running = {name: status for name, status in statuses.items() if status is not None}
    for name, status in running.items():
        sys.stdout.write(
            f"{name}: {'healthy' if status == http.client.OK else f'unhealthy, status {status}'}\n"
        )
    if not running:
        sys.stdout.write("no program of the mirror runs here\n")
    return 0 if running and set(running.values()) == {http.client.OK} else 1


def get_status(host: str, port: int) -> int | None:
    """HTTP status of a program's `/healthz`; `None` without a response."""
    address = _LOOPBACK.get(host, host)
    with closing(http.client.HTTPConnection(address, port, timeout=_TIMEOUT_S)) as connection:
        try:
            connection.request("GET", _PATH)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def _ports(settings: Settings) -> dict[str, int]:
    grabbers = {f"{cluster} grabber": settings.grabber_metrics_port(cluster) for cluster in Cluster}
    return {"server": settings.server_port, **grabbers}
