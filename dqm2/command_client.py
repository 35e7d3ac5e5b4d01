"""Control commands to DQM²: each is sent once, over a connection of its own, and never retried by any layer.

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

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from dqm2 import credentials, deadline_tls
from dqm2.client import COOKIE_NAME, status_error
from dqm2.credentials import UnreadableFile
from dqm2.deadline_tls import DeadlineSSLContext
from dqm2.errors import Dqm2Error, Dqm2Refused, Dqm2Unreachable
from dqmsquare_cfg import Settings

_CONNECT_S = 5.0
_PIECE_BYTES = 64 * 1024
# What OpenSSL calls the alerts by which a client's certificate is refused.
_ALERTS_OF_CERTIFICATE = (
    "ALERT_CERTIFICATE",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_UNKNOWN_CA",
    "ALERT_ACCESS_DENIED",
)

# As CMSWEB_CA_PATH has it: a file or folder, True for the usual ones, False for no verification.
_CaPath = Path | bool


class NotSent(Dqm2Error):
    """No connection came about, so nothing was sent."""


class OutcomeUnknown(Dqm2Error):
    """It was sent, and no whole answer came: what was done is unknown."""


@dataclass(frozen=True, slots=True)
class RawResponse:
    """The body of a 200. `is_start_missing`: only the rest was kept; `is_end_missing`: time-out."""

    body: bytes = field(repr=False)
    is_start_missing: bool = False
    is_end_missing: bool = False


@dataclass(frozen=True, slots=True)
class ResponseLimits:
    """What an answer may cost. `accepts_partial`: a part of it is of use, and of that the end."""

    timeout_s: float
    max_bytes: int
    accepts_partial: bool = False


class CommandClient:
    """Sends control commands to the gateway. May be used by several threads at once."""

    def __init__(self, settings: Settings) -> None:
        address = urlsplit(settings.cmsweb_frontend_proxy_url)
        self._host, self._port = address.hostname or "", address.port
        self._path = f"{address.path}/cr/exe"
        self._cookie = f"{COOKIE_NAME}={settings.dqm_fff_secret}"
        self._files = credentials.tls_files(settings)
        self._certificate = settings.server_grid_cert_path, settings.server_grid_key_path
        self._ca_path = settings.cmsweb_ca_path

    def send(self, query: Sequence[tuple[str, str]], limits: ResponseLimits) -> RawResponse:
        """Sends a command and returns what came back with status 200.

        Raises NotSent, Dqm2Refused, Dqm2Failed or OutcomeUnknown.
        """
        ends_at = time.monotonic() + limits.timeout_s
        connection = self._connected(min(_CONNECT_S, limits.timeout_s), ends_at)
        connection.sock.settimeout(limits.timeout_s)
        try:
            return self._exchange(connection, query, limits)
        except ssl.SSLError as error:
            raise _broken_by(error.reason or "") from error
        except TimeoutError as error:
            raise OutcomeUnknown(f"it did not answer in full within {limits.timeout_s:.0f} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise OutcomeUnknown(f"the answer broke off: {type(error).__name__}") from error
        finally:
            connection.close()

    def _connected(self, timeout_s: float, ends_at: float) -> http.client.HTTPSConnection:
        context = self._context()
        context.deadline = ends_at
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NotSent(f"the front end can't be reached: {error.strerror or error}") from error
        return connection

    def _context(self) -> DeadlineSSLContext:
        """Made anew each time: certificates are renewed under a running server."""
        try:
            credentials.fingerprints(self._files)
            context = _verifying(self._ca_path)
            context.load_cert_chain(*self._certificate)
        except UnreadableFile as error:
            raise NotSent(str(error)) from error
        except OSError as error:
            raise NotSent(f"certificate, key or ca_path can't be used: {error.strerror}") from error
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
            raise _refusal(response.status)
        return _read(response, limits)


class _Tail:
    """The end of a body, as long as it may be."""

    def __init__(self, limits: ResponseLimits) -> None:
        self._limits = limits
        self._kept = bytearray()
        self._lacks_head = False

    def add(self, piece: bytes) -> None:
        """Adds a piece. Raises OutcomeUnknown if that is more than may be, and all of it is needed."""
        self._kept += piece
        if len(self._kept) > self._limits.max_bytes and not self._limits.accepts_partial:
            raise OutcomeUnknown(f"the answer is longer than {self._limits.max_bytes} bytes")
        # Cut now and then, not at every piece: they may be of a single character.
        if len(self._kept) > 2 * self._limits.max_bytes:
            self._cut()

    def answer(self, *, is_end_missing: bool) -> RawResponse:
        """What there is of the answer."""
        self._cut()
        return RawResponse(bytes(self._kept), self._lacks_head, is_end_missing)

    def _cut(self) -> None:
        superfluous = len(self._kept) - self._limits.max_bytes
        if superfluous > 0:
            del self._kept[:superfluous]
            self._lacks_head = True


def _read(response: http.client.HTTPResponse, limits: ResponseLimits) -> RawResponse:
    tail = _Tail(limits)
    try:
        while piece := response.read1(_PIECE_BYTES):
            tail.add(piece)
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
    except (OSError, http.client.HTTPException):
        if not limits.accepts_partial:
            raise
        return tail.answer(is_end_missing=True)
    return tail.answer(is_end_missing=False)


def _verifying(ca_path: _CaPath) -> DeadlineSSLContext:
    context = deadline_tls.client_context(verify=ca_path is not False)
    if ca_path is not False:
        # Where nothing is said, the ca_path that the grabbers trust too.
        path = ca_path if isinstance(ca_path, Path) else Path(DEFAULT_CA_BUNDLE_PATH)
        context.load_verify_locations(
            cafile=None if path.is_dir() else str(path), capath=str(path) if path.is_dir() else None
        )
    return context


def _broken_by(reason: str) -> Dqm2Error:
    """What it means that TLS broke off. Only an alert of the certificate says that nothing was looked at."""
    if any(word in reason for word in _ALERTS_OF_CERTIFICATE):
        return Dqm2Refused(f"the grid certificate is not accepted: {reason}")
    return OutcomeUnknown(f"TLS failed: {reason}")


def _refusal(status: int) -> Dqm2Error:
    error = status_error(status)
    # A front end that got no answer doesn't know what was done behind it.
    return OutcomeUnknown(str(error)) if isinstance(error, Dqm2Unreachable) else error
