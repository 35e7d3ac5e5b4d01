"""Client of DQM² for control commands: each is sent once, over its own connection, and never retried.

A control command can't be undone, so each error says what may have happened: nothing (`NotSent`,
`Dqm2Refused`), something (`Dqm2Failed`), or unknown (`OutcomeUnknown`). The standard library's HTTP client is
used because it adds no redirects, proxies or kept connections.
"""

import http.client
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import certifi

from dqm2 import credentials, deadline_tls
from dqm2.credentials import COOKIE_NAME, UnreadableFile
from dqm2.deadline_tls import DeadlineSSLContext
from dqm2.errors import Dqm2Error, Dqm2Refused, Dqm2Unreachable, status_error
from dqm2.network_errors import cause, rejects_certificate
from dqmsquare_cfg import Settings

_CONNECT_S = 5.0
_CHUNK_BYTES = 64 * 1024
# Value of CMSWEB_CA_PATH: file or directory, True for the default, False not to verify.
_CaPath = Path | bool


class NotSent(Dqm2Error):
    """Raised when no connection was made, so nothing was sent."""


class OutcomeUnknown(Dqm2Error):
    """Raised when the command was sent and no complete response came."""


@dataclass(frozen=True, slots=True)
class RawResponse:
    """Body of a response with status 200; its start or its end may be missing."""

    body: bytes = field(repr=False)
    is_start_missing: bool = False
    is_end_missing: bool = False


@dataclass(frozen=True, slots=True)
class ResponseLimits:
    """Limits of a response. With `accepts_partial`, the last `max_bytes` received in time are returned."""

    timeout_s: float
    max_bytes: int
    accepts_partial: bool = False


class CommandClient:
    """Sends control commands to the gateway. Safe for use by several threads."""

    def __init__(self, settings: Settings) -> None:
        url = urlsplit(settings.cmsweb_frontend_proxy_url)
        self._host, self._port = url.hostname or "", url.port
        self._path = f"{url.path}/cr/exe"
        self._cookie = f"{COOKIE_NAME}={settings.dqm_fff_secret}"
        self._files = credentials.tls_files(settings)
        self._certificate = settings.server_grid_cert_path, settings.server_grid_key_path
        self._ca_path = settings.cmsweb_ca_path

    def send(self, query: Sequence[tuple[str, str]], limits: ResponseLimits) -> RawResponse:
        """Send a command and return the response.

        Raises NotSent, Dqm2Refused, Dqm2Failed or OutcomeUnknown.
        """
        deadline = time.monotonic() + limits.timeout_s
        connection = self._connect(min(_CONNECT_S, limits.timeout_s), deadline)
        connection.sock.settimeout(limits.timeout_s)
        try:
            return self._exchange(connection, query, limits)
        except ssl.SSLError as error:
            raise _tls_error(cause(error)) from error
        except TimeoutError as error:
            raise OutcomeUnknown(f"no complete response within {limits.timeout_s:.0f} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise OutcomeUnknown(f"the response was interrupted: {cause(error)}") from error
        finally:
            connection.close()

    def _connect(self, timeout_s: float, deadline: float) -> http.client.HTTPSConnection:
        context = self._tls_context()
        context.deadline = deadline
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NotSent(f"the front end can't be reached: {error.strerror or error}") from error
        return connection

    def _tls_context(self) -> DeadlineSSLContext:
        """A new context per command: certificates are renewed while the server runs."""
        try:
            credentials.fingerprints(self._files)
            context = _verifying_context(self._ca_path)
            credentials.load_certificate(context, *self._certificate)
        except UnreadableFile as error:
            raise NotSent(str(error)) from error
        return context

    def _exchange(
        self,
        connection: http.client.HTTPSConnection,
        query: Sequence[tuple[str, str]],
        limits: ResponseLimits,
    ) -> RawResponse:
        connection.request("GET", f"{self._path}?{urlencode(query)}", headers={"Cookie": self._cookie})
        response = connection.getresponse()
        if response.status != HTTPStatus.OK:
            raise _command_error(response.status)
        return _read(response, limits)


class _BodyBuffer:
    """Body received so far, cut to its end if it grows over the limit."""

    def __init__(self, limits: ResponseLimits) -> None:
        self._limits = limits
        self._body = bytearray()
        self._is_start_missing = False

    def append(self, chunk: bytes) -> None:
        """Append received bytes. Raises OutcomeUnknown over the limit if a partial body is not accepted."""
        self._body += chunk
        if len(self._body) > self._limits.max_bytes and not self._limits.accepts_partial:
            raise OutcomeUnknown(f"the response is longer than {self._limits.max_bytes} bytes")
        # Not at every chunk: DQM² sends chunks of a single character.
        if len(self._body) > 2 * self._limits.max_bytes:
            self._cut()

    def response(self, *, is_end_missing: bool) -> RawResponse:
        """Response with what was received."""
        self._cut()
        return RawResponse(bytes(self._body), self._is_start_missing, is_end_missing)

    def _cut(self) -> None:
        excess = len(self._body) - self._limits.max_bytes
        if excess > 0:
            del self._body[:excess]
            self._is_start_missing = True


def _read(response: http.client.HTTPResponse, limits: ResponseLimits) -> RawResponse:
    body = _BodyBuffer(limits)
    try:
        while chunk := response.read1(_CHUNK_BYTES):
            body.append(chunk)
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
    except (OSError, http.client.HTTPException):
        if not limits.accepts_partial:
            raise
        return body.response(is_end_missing=True)
    return body.response(is_end_missing=False)


def _verifying_context(ca_path: _CaPath) -> DeadlineSSLContext:
    context = deadline_tls.client_context(verify=ca_path is not False)
    if ca_path is not False:
        # By default the bundle that `requests` uses, as the grabbers do.
        credentials.load_authorities(context, ca_path if isinstance(ca_path, Path) else Path(certifi.where()))
    return context


def _tls_error(reason: str) -> Dqm2Error:
    """Error for a TLS failure. Only an alert about the certificate proves that the request was not read."""
    if rejects_certificate(reason):
        return Dqm2Refused(f"the grid certificate is not accepted: {reason}")
    return OutcomeUnknown(f"TLS failed: {reason}")


def _command_error(status: int) -> Dqm2Error:
    error = status_error(status)
    # A front end without a response does not know what the gateway has done.
    return OutcomeUnknown(str(error)) if isinstance(error, Dqm2Unreachable) else error
