"""Ports of the loopback that nobody listens on, for programs that are started side by side."""

import socket
from contextlib import ExitStack, closing

_HOST = "127.0.0.1"


def free_ports(number: int) -> list[int]:
    """So many ports, each another; they stay free as long as nobody is faster."""
    with ExitStack() as stack:
        doors = [stack.enter_context(closing(socket.create_server((_HOST, 0)))) for _ in range(number)]
        return [door.getsockname()[1] for door in doors]


def free_port() -> int:
    """One of them."""
    [port] = free_ports(1)
    return port
