"""HTTPS server: HTTP/1.1 over TLS with a client certificate, one thread per connection.

Written by hand on `http.server`, because the faults need control over packets, chunks and connections.
"""

import logging
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl

from simulator.certificates import CertificateAuthority, CertificateFiles
from simulator.http_types import Request, Response, SendMode, error_page

HOST = "127.0.0.1"
# The server closes an idle connection after this time, as CMSWEB's front end does.
_IDLE_TIMEOUT_S = 300.0
_HANDSHAKE_TIMEOUT_S = 10.0
_MAX_BODY_BYTES = 1 << 30

log = logging.getLogger(__name__)


class HttpsServer:
    """Server on a port of the loopback interface; port 0 picks a free one.

    `handler` is called in the connection's thread; `refuses_connection` decides whether a new connection is
    closed immediately. Raises OSError if the port is taken.
    """

    def __init__(
        self,
        port: int,
        authority: CertificateAuthority,
        handler: Callable[[Request], Response],
        refuses_connection: Callable[[], bool],
    ) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._tls.load_verify_locations(authority.ca_path)
        self.use_certificate(authority.server)
        self._server = _Server(port, self._tls, handler, refuses_connection)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="simulator-https", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._server.server_address[1])

    def use_certificate(self, files: CertificateFiles) -> None:
        """Present this certificate on new connections."""
        self._tls.load_cert_chain(files.certificate, files.key)

    def start(self) -> None:
        """Start to accept connections."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection."""
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        self._thread.join()

    def close_connections(self) -> None:
        """Close every connection; new ones are accepted."""
        self._server.close_connections()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        port: int,
        tls: ssl.SSLContext,
        handler: Callable[[Request], Response],
        refuses_connection: Callable[[], bool],
    ) -> None:
        self.tls = tls
        self.handler = handler
        self._refuses_connection = refuses_connection
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__((HOST, port), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - the base's signature
        """Whether to accept a connection; a refused one is closed before its handshake."""
        return not self._refuses_connection()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Keep track of the connection for `close_connections`."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Stop tracking a closed connection."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base's signature
        """Log an error, unless the client only hung up or has no certificate."""
        if isinstance(sys.exception(), OSError):
            log.debug("connection ended", exc_info=True)
        else:
            log.exception("request failed")

    def close_connections(self) -> None:
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            _shut_down(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        """TLS handshake in the connection's own thread, so that a slow one doesn't delay others."""
        plain: socket.socket = self.request
        plain.settimeout(_HANDSHAKE_TIMEOUT_S)
        self._set_nagle(on=False)
        # Wrapping detaches the socket; the server still closes the original.
        self.request = self.server.tls.wrap_socket(plain.dup(), server_side=True)
        self.request.settimeout(_IDLE_TIMEOUT_S)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's signature
        """Requests are recorded by `RequestRecorder` instead."""

    def _respond(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
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
        self._send(self.server.handler(request))

    def _send(self, response: Response) -> None:
        body = response.body[: response.close_after_bytes]
        match response.send_mode:
            case SendMode.CLOSE:
                self.close_connection = True
            case SendMode.NORMAL:
                self.wfile.write(self._head(response) + body)
            case SendMode.TWO_PACKETS:
                self._set_nagle(on=True)
                self.wfile.write(self._head(response))
                self.wfile.write(body)
            case SendMode.CHUNK_PER_CHARACTER:
                self.wfile.write(self._head(response) + _chunk_per_character(body))
        if response.close_after_bytes is not None:
            self.close_connection = True

    def _head(self, response: Response) -> bytes:
        is_chunked = response.send_mode is SendMode.CHUNK_PER_CHARACTER
        lines = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"Date: {self.date_time_string()}",
            f"Content-Type: {response.content_type}",
            "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(response.body)}",
        ]
        if response.location is not None:
            lines.append(f"Location: {response.location}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _set_nagle(self, *, on: bool) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(not on))


def _chunk_per_character(body: bytes) -> bytes:
    """The chunked encoding of a body with one character per chunk."""
    characters = (character.encode() for character in body.decode())
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in characters) + b"0\r\n\r\n"


def _serial(connection: ssl.SSLSocket) -> int | None:
    certificate = connection.getpeercert()
    serial = certificate.get("serialNumber") if certificate else None
    return int(serial, 16) if isinstance(serial, str) else None


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The client closed it first.
        return
