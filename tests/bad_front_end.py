"""A front end that misbehaves on the wire, below what the simulator's faults reach."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from dqmsquare_cfg import Settings
from simulator.simulator import Simulator

# What it does with its one visitor, by a context with the right certificate.
Speak = Callable[[socket.socket, ssl.SSLContext], None]

# How an answer begins that goes on a byte now and then: within its head, and within its body.
BEGUN_ANSWERS = (b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


@contextmanager
def front_end(simulator: Simulator, settings: Settings, speak: Speak) -> Iterator[Settings]:
    """The settings with the way to a front end that does with its one visitor as `speak` does."""
    identity = simulator.authority.server
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    with socket.create_server(("127.0.0.1", 0)) as door:

        def welcome() -> None:
            connection = door.accept()[0]
            with connection, suppress(OSError):
                speak(connection, context)

        visited = threading.Thread(target=welcome)
        visited.start()
        url = f"https://127.0.0.1:{door.getsockname()[1]}/dqm"
        yield replace(settings, cmsweb_frontend_proxy_url=url)
        visited.join()


def dripping(begun: bytes) -> Speak:
    """Begins to answer so, and goes on with a byte 20 times a second, for 10 s or until the visitor goes."""

    def drip(connection: socket.socket, context: ssl.SSLContext) -> None:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(10_000)
            encrypted.sendall(begun)
            encrypted.settimeout(0.05)
            for _ in range(200):
                encrypted.sendall(b"0")
                with suppress(TimeoutError):
                    encrypted.recv(1)

    return drip
