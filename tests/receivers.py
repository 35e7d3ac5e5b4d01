"""Receivers of notifications on loopback: an HTTP server and an SMTP server that keep what they receive."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from runtime.supervisor import free_port

TOKEN = "Zq81-not-for-anybody"


class HttpReceiver:
    """HTTP server for apprise's `json://`; `status` is what it answers, `hangs` that it does not."""

    def __init__(self) -> None:
        self.messages: list[dict[str, str]] = []
        self.attempts = 0
        self.status = 200
        self.hangs = False
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """The URL for NOTIFY_URLS."""
        return f"json://127.0.0.1:{self._server.server_port}/{TOKEN}"

    @property
    def bodies(self) -> list[str]:
        """Titles and bodies of the messages."""
        return [f"{message['title']}\n{message['message']}" for message in self.messages]

    @contextmanager
    def running(self) -> Iterator["HttpReceiver"]:
        """The server, as long as the context lasts."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            self._server.shutdown()
            self._server.server_close()


class SmtpReceiver:
    """SMTP server that keeps the texts of the mails; with a certificate and its key, it speaks TLS.

    The certificate need not be one that clients trust.
    """

    def __init__(self, certificate: Path | None = None, key: Path | None = None) -> None:
        self.texts: list[str] = []
        self._port = free_port()
        self._tls = None
        if certificate is not None:
            self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._tls.load_cert_chain(certificate, key)
        self._controller = Controller(self, hostname="127.0.0.1", port=self._port, ssl_context=self._tls)

    @property
    def url(self) -> str:
        """The URL for NOTIFY_URLS."""
        scheme, mode = ("mailto", "insecure") if self._tls is None else ("mailtos", "ssl&verify=no")
        query = f"from=mirror@localhost.test&to=expert@localhost.test&mode={mode}"
        return f"{scheme}://127.0.0.1:{self._port}?{query}"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep a mail."""
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=default)
        body = mail.get_body(("plain",))
        assert body is not None
        self.texts.append(f"{mail['subject']}\n{body.get_content()}")
        return "250 OK"

    @contextmanager
    def running(self) -> Iterator["SmtpReceiver"]:
        """The server, as long as the context lasts."""
        self._controller.start()
        try:
            yield self
        finally:
            self._controller.stop()


def _handler(receiver: HttpReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.attempts += 1
            if receiver.hangs:
                receiver.released.wait()
                return
            if receiver.status == 200:
                receiver.messages.append(json.loads(body))
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing."""

    return Handler
