"""One control command to DQM²: sent once, over a connection of its own, and never again by any layer.

What a control command does can't be taken back, so each error here says how much may have happened: nothing
(`NotSent`, `Dqm2Refused`), something (`Dqm2Failed`), or nobody knows (`Unanswered`). The standard library's
plain HTTP client is used since it does no more than it is told: no redirect, no proxy, no kept connection.
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
from dqm2.client import COOKIE, refusal
from dqm2.credentials import Unreadable
from dqm2.deadline_tls import PatientContext
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
_Authorities = Path | bool


class NotSent(Dqm2Error):
    """No connection came about, so nothing was sent."""


class Unanswered(Dqm2Error):
    """It was sent, and no whole answer came: what was done is unknown."""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """The body of a 200. `lacks_head`: only the rest was kept; `lacks_end`: it did not end in time."""

    body: bytes = field(repr=False)
    lacks_head: bool = False
    lacks_end: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an answer may cost. `takes_part`: a part of it is of use, and of that the end."""

    timeout_s: float
    most_bytes: int
    takes_part: bool = False


class CommandRelay:
    """Sends control commands to the gateway. May be used by several threads at once."""

    def __init__(self, settings: Settings) -> None:
        address = urlsplit(settings.cmsweb_frontend_proxy_url)
        self._host, self._port = address.hostname or "", address.port
        self._path = f"{address.path}/cr/exe"
        self._cookie = f"{COOKIE}={settings.dqm_fff_secret}"
        self._files = credentials.of_way_in(settings)
        self._certificate = settings.server_grid_cert_path, settings.server_grid_key_path
        self._authorities = settings.cmsweb_ca_path

    def send(self, query: Sequence[tuple[str, str]], bounds: Bounds) -> RawAnswer:
        """Sends a command and returns what came back with status 200.

        Raises NotSent, Dqm2Refused, Dqm2Failed or Unanswered.
        """
        ends_at = time.monotonic() + bounds.timeout_s
        connection = self._connected(min(_CONNECT_S, bounds.timeout_s), ends_at)
        connection.sock.settimeout(bounds.timeout_s)
        try:
            return self._exchange(connection, query, bounds)
        except ssl.SSLError as error:
            raise _broken_by(error.reason or "") from error
        except TimeoutError as error:
            raise Unanswered(f"it did not answer in full within {bounds.timeout_s:.0f} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(f"the answer broke off: {type(error).__name__}") from error
        finally:
            connection.close()

    def _connected(self, timeout_s: float, ends_at: float) -> http.client.HTTPSConnection:
        context = self._context()
        context.ends_at = ends_at
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NotSent(f"the front end can't be reached: {error.strerror or error}") from error
        return connection

    def _context(self) -> PatientContext:
        """Made anew each time: certificates are renewed under a running server."""
        try:
            credentials.states(self._files)
            context = _verifying(self._authorities)
            context.load_cert_chain(*self._certificate)
        except Unreadable as error:
            raise NotSent(str(error)) from error
        except OSError as error:
            raise NotSent(f"certificate, key or authorities can't be used: {error.strerror}") from error
        return context

    def _exchange(
        self,
        connection: http.client.HTTPSConnection,
        query: Sequence[tuple[str, str]],
        bounds: Bounds,
    ) -> RawAnswer:
        connection.request("GET", f"{self._path}?{urlencode(query)}", headers={"Cookie": self._cookie})
        response = connection.getresponse()
        if response.status != HTTPStatus.OK:
            raise _refusal(response.status)
        return _read(response, bounds)


class _Tail:
    """The end of a body, as long as it may be."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._kept = bytearray()
        self._lacks_head = False

    def add(self, piece: bytes) -> None:
        """Adds what comes next. Raises Unanswered if that is more than may be, and all of it is needed."""
        self._kept += piece
        if len(self._kept) > self._bounds.most_bytes and not self._bounds.takes_part:
            raise Unanswered(f"the answer is longer than {self._bounds.most_bytes} bytes")
        # Cut now and then, not at every piece: they may be of a single character.
        if len(self._kept) > 2 * self._bounds.most_bytes:
            self._cut()

    def answer(self, *, lacks_end: bool) -> RawAnswer:
        """What there is of the answer."""
        self._cut()
        return RawAnswer(bytes(self._kept), self._lacks_head, lacks_end)

    def _cut(self) -> None:
        superfluous = len(self._kept) - self._bounds.most_bytes
        if superfluous > 0:
            del self._kept[:superfluous]
            self._lacks_head = True


def _read(response: http.client.HTTPResponse, bounds: Bounds) -> RawAnswer:
    tail = _Tail(bounds)
    try:
        while piece := response.read1(_PIECE_BYTES):
            tail.add(piece)
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
    except (OSError, http.client.HTTPException):
        if not bounds.takes_part:
            raise
        return tail.answer(lacks_end=True)
    return tail.answer(lacks_end=False)


def _verifying(authorities: _Authorities) -> PatientContext:
    context = deadline_tls.context(verifies=authorities is not False)
    if authorities is not False:
        # Where nothing is said, the authorities that the grabbers trust too.
        path = authorities if isinstance(authorities, Path) else Path(DEFAULT_CA_BUNDLE_PATH)
        context.load_verify_locations(
            cafile=None if path.is_dir() else str(path), capath=str(path) if path.is_dir() else None
        )
    return context


def _broken_by(reason: str) -> Dqm2Error:
    """What it means that TLS broke off. Only an alert of the certificate says that nothing was looked at."""
    if any(word in reason for word in _ALERTS_OF_CERTIFICATE):
        return Dqm2Refused(f"the grid certificate is not accepted: {reason}")
    return Unanswered(f"TLS failed: {reason}")


def _refusal(status: int) -> Dqm2Error:
    error = refusal(status)
    # A front end that got no answer doesn't know what was done behind it.
    return Unanswered(str(error)) if isinstance(error, Dqm2Unreachable) else error
