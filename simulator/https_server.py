"""The simulator's door: HTTP/1.1 over TLS with a client certificate, a thread a connection."""

import logging
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl

from simulator.certificates import Authority, Identity
from simulator.http_types import Answer, Manner, Request, error_page

HOST = "127.0.0.1"
# An idle connection is closed by the server after so long, as CMSWEB's front end does.
_IDLE_S = 300.0
_HANDSHAKE_S = 10.0
_MOST_BODY_BYTES = 1 << 30

log = logging.getLogger(__name__)


class HttpsServer:
    """Serves on a port of the loopback until it is stopped; port 0 is any free one.

    `answer` is called in a thread a connection; `refuses` says whether a new connection is closed at once.
    Raises OSError if the port is taken.
    """

    def __init__(
        self,
        port: int,
        authority: Authority,
        answer: Callable[[Request], Answer],
        refuses: Callable[[], bool],
    ) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._tls.load_verify_locations(authority.ca_path)
        self.present(authority.server)
        self._server = _Server(port, self._tls, answer, refuses)
        self._thread = threading.Thread(target=self._serve, name="simulator-https", daemon=True)

    @property
    def port(self) -> int:
        """The port that is served."""
        return int(self._server.server_address[1])

    def present(self, identity: Identity) -> None:
        """Shows this certificate to whoever connects from now on."""
        self._tls.load_cert_chain(identity.certificate, identity.key)

    def start(self) -> None:
        """Begins to take connections."""
        self._thread.start()

    def stop(self) -> None:
        """Closes the port and every connection."""
        self._server.shutdown()
        self._server.server_close()
        self._server.cut_connections()
        self._thread.join()

    def cut_connections(self) -> None:
        """Closes every connection; new ones are welcome."""
        self._server.cut_connections()

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        port: int,
        tls: ssl.SSLContext,
        answer: Callable[[Request], Answer],
        refuses: Callable[[], bool],
    ) -> None:
        self.tls = tls
        self.answer = answer
        self.refuses = refuses
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__((HOST, port), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - the base's signature
        """False closes a connection before its handshake."""
        return not self.refuses()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remembers the connection, so that it can be cut."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forgets a connection that is over."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base's signature
        """A client that hangs up or has no certificate is no event here; anything else is."""
        if isinstance(sys.exception(), OSError):
            log.debug("connection ended", exc_info=True)
        else:
            log.exception("request failed")

    def cut_connections(self) -> None:
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            _shut(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        """The handshake, in the connection's own thread: a slow one holds up nobody."""
        plain: socket.socket = self.request
        plain.settimeout(_HANDSHAKE_S)
        self._set_nagle(on=False)
        # The socket is handed over; the server still closes the one that it knows.
        self.request = self.server.tls.wrap_socket(plain.dup(), server_side=True)
        self.request.settimeout(_IDLE_S)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def do_GET(self) -> None:
        self._exchange()

    def do_POST(self) -> None:
        self._exchange()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's signature
        """What was requested is recorded by the simulator; see Recorder."""

    def _exchange(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _MOST_BODY_BYTES:
            self.close_connection = True
            self._send(error_page(400, "Bad Request"))
            return
        path, _, query = self.path.partition("?")
        request = Request(
            self.command,
            path,
            tuple(parse_qsl(query, keep_blank_values=True)),
            tuple((name.lower(), value) for name, value in self.headers.items()),
            self.rfile.read(int(length)),
            _serial(self.request),
        )
        self._send(self.server.answer(request))

    def _send(self, answer: Answer) -> None:
        body = answer.body if answer.closes_after is None else answer.body[: answer.closes_after]
        match answer.manner:
            case Manner.CUT:
                self.close_connection = True
            case Manner.WHOLE:
                self.wfile.write(self._head(answer) + body)
            case Manner.TWO_PACKETS:
                self._set_nagle(on=True)
                self.wfile.write(self._head(answer))
                self.wfile.write(body)
            case Manner.CHARACTERS:
                self.wfile.write(self._head(answer) + _characters(body))
        if answer.closes_after is not None:
            self.close_connection = True

    def _head(self, answer: Answer) -> bytes:
        length = (
            "Transfer-Encoding: chunked"
            if answer.manner is Manner.CHARACTERS
            else f"Content-Length: {len(answer.body)}"
        )
        phrase = self.responses.get(answer.status, ("",))[0]
        lines = [
            f"HTTP/1.1 {answer.status} {phrase}",
            f"Date: {self.date_time_string()}",
            f"Content-Type: {answer.content_type}",
            length,
        ]
        if answer.location is not None:
            lines.append(f"Location: {answer.location}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _set_nagle(self, *, on: bool) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(not on))


def _characters(body: bytes) -> bytes:
    """The body in chunks of a character each."""
    characters = (character.encode() for character in body.decode())
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in characters) + b"0\r\n\r\n"


def _serial(connection: ssl.SSLSocket) -> int | None:
    certificate = connection.getpeercert()
    serial = certificate.get("serialNumber") if certificate else None
    return int(serial, 16) if isinstance(serial, str) else None


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The other side was first.
        return
