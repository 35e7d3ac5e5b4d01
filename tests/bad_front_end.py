"""Front end that misbehaves at the socket level, below the simulator's fault injection."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from dqmsquare_cfg import Settings
from simulator.simulator import Simulator
from tests.waiting import TIMEOUT_S

# Handler of the only connection, with a TLS context for the right certificate.
Handler = Callable[[socket.socket, ssl.SSLContext], None]

# Beginnings of responses that are continued byte by byte, in the headers and in the body.
PARTIAL_RESPONSES = (b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
# Between bytes.
_PAUSE_S = 0.05


@contextmanager
def front_end(simulator: Simulator, settings: Settings, handle: Handler) -> Iterator[Settings]:
    """Settings with the URL of a front end that handles one connection with `handle`."""
    identity = simulator.authority.server
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection = listening.accept()[0]
            with connection, suppress(OSError):
                handle(connection, context)

        server = threading.Thread(target=serve)
        server.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/dqm"
        yield replace(settings, cmsweb_frontend_proxy_url=url)
        server.join()


def answering(response: bytes) -> Handler:
    """Handler that sends a response to a request for headers or documents."""

    def answer(connection: socket.socket, context: ssl.SSLContext) -> None:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            received = b""
            # The headers, then the body.
            while b'"messages"' not in received and (part := encrypted.recv(10_000)):
                received += part
            encrypted.sendall(response)

    return answer


def dripping(beginning: bytes) -> Handler:
    """Handler that sends the beginning of a response, then 20 bytes per second until the client leaves."""

    def drip(connection: socket.socket, context: ssl.SSLContext) -> None:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(10_000)
            encrypted.sendall(beginning)
            encrypted.settimeout(_PAUSE_S)
            for _ in range(round(TIMEOUT_S / _PAUSE_S)):
                encrypted.sendall(b"0")
                with suppress(TimeoutError):
                    encrypted.recv(1)

    return drip
