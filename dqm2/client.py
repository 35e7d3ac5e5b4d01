"""Requests to DQM² through CMSWEB: grid certificate, cookie, and the gateway that relays to its machines.

A client asks one thing at a time over one kept connection, follows no redirect and repeats nothing by itself.
Every answer is bounded in time and bytes and parsed here, so that behind this door everything is typed.
Facts about the far side: protocol, "The way in" and "Reading documents".
"""

import json
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from config.parsers import short_name
from dqm2 import credentials, deadline_tls
from dqm2.credentials import Fingerprint, UnreadableFile
from dqm2.deadline_tls import DeadlineSSLContext
from dqm2.errors import (
    Dqm2Error,
    Dqm2Failed,
    Dqm2InvalidResponse,
    Dqm2Refused,
    Dqm2ResponseTooLarge,
    Dqm2Unreachable,
)
from dqm2.sync_messages import ClusterStatus, Headers, ResponseBody, parse_cluster_status, parse_headers
from dqmsquare_cfg import Cluster, Settings

# DQM²'s port on every machine, and the cookie it knows its friends by.
_DQM2_PORT = 9215
COOKIE_NAME = "selenium-secret-secret"

# How long to wait for a connection, for the next piece of an answer, and for all of it. The gateway may be
# busy with others for a while; it gives a relayed machine 5 s to begin.
_CONNECT_S = 5.0
_PIECE_S = 20.0
_HEADERS_S = 120.0
_DOCUMENTS_S = 60.0
_STATUS_S = 150.0

# The largest answers that are read: 400,000 headers, and a batch of documents.
_HEADERS_BYTES = 128 * 1024 * 1024
_DOCUMENTS_BYTES = 96 * 1024 * 1024
_STATUS_BYTES = 1024 * 1024
_PIECE_BYTES = 1024 * 1024

# Statuses by which a certificate is not accepted, and by which a front end says that it got no answer itself.
_REFUSING = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_OF_FRONT_END = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)

# Ids become SQL variables at the far side, of which old servers take 999.
MAX_IDS = 500


class Dqm2Client:
    """The way to one cluster's machines. Not for use by several threads at once."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.cmsweb_frontend_proxy_url
        self._gateway = settings.server_fff_machine
        self._secret = settings.dqm_fff_secret
        self._certificate = (settings.server_grid_cert_path, settings.server_grid_key_path)
        ca_path = settings.cmsweb_ca_path
        self._verify = str(ca_path) if isinstance(ca_path, Path) else ca_path
        self._files = credentials.tls_files(settings)
        self._tls = deadline_tls.client_context(verify=self._verify is not False)
        self._session: requests.Session | None = None
        self._session_made_of: tuple[Fingerprint, ...] = ()
        self.bytes_received = 0

    def get_headers(self, machine: str, known_revision: int | None) -> Headers:
        """The headers of a machine's documents from `known_revision` on, it included; `None` asks for all."""
        known = None if known_revision is None else str(known_revision)
        question = {"event": "sync_request", "known_rev": known}
        return parse_headers(self._ask(machine, question, timeout_s=_HEADERS_S, max_bytes=_HEADERS_BYTES))

    def get_documents(self, machine: str, ids: Sequence[str]) -> ResponseBody:
        """The answer with the documents of those ids, for `parse_documents`; at most MAX_IDS at once."""
        if len(ids) > MAX_IDS:
            raise ValueError(f"{len(ids)} ids asked for at once, {MAX_IDS} is the most")
        question = {"event": "request_documents", "ids": list(ids)}
        return self._ask(machine, question, timeout_s=_DOCUMENTS_S, max_bytes=_DOCUMENTS_BYTES)

    def get_cluster_status(self, cluster: Cluster) -> ClusterStatus:
        """Which machines of a cluster answer, as the gateway finds."""
        response = self._request(
            "GET",
            f"{self._base}/cr/exe",
            params={"what": "get_cluster_status", "cluster": cluster.value},
            timeout_s=_STATUS_S,
        )
        return parse_cluster_status(self._body(response, _STATUS_S, _STATUS_BYTES))

    def close(self) -> None:
        """Closes the kept connection."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _ask(
        self, machine: str, question: Mapping[str, Any], *, timeout_s: float, max_bytes: int
    ) -> ResponseBody:
        # As DQM² writes it: an id of its own may hold a lone surrogate, which stricter writers refuse.
        message = json.dumps({"messages": [json.dumps(question)]}).encode("ascii")
        if short_name(machine) == self._gateway:
            url, params = f"{self._base}/sync_proxy", None
        else:
            url, params = f"{self._base}/redirect", {"path": machine, "port": str(_DQM2_PORT)}
        response = self._request("POST", url, params=params, data=message, timeout_s=timeout_s)
        return self._body(response, timeout_s, max_bytes)

    def _request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        timeout_s: float,
    ) -> requests.Response:
        session = self._open_session()
        self._tls.deadline = time.monotonic() + timeout_s
        try:
            response = session.request(
                method,
                url,
                params=params,
                data=data,
                timeout=(_CONNECT_S, min(_PIECE_S, timeout_s)),
                allow_redirects=False,
                stream=True,
            )
        except requests.exceptions.SSLError as error:
            self.close()
            raise Dqm2Refused(f"TLS failed: {_cause(error)}") from error
        except (requests.exceptions.RequestException, OSError) as error:
            self.close()
            raise Dqm2Unreachable(f"no answer: {_cause(error)}") from error
        if response.status_code != requests.codes.ok:
            response.close()
            raise status_error(response.status_code)
        return response

    def _body(self, response: requests.Response, timeout_s: float, max_bytes: int) -> ResponseBody:
        body = bytearray()
        try:
            # One read of the socket at a time: what is too long is noticed in time.
            while piece := response.raw.read1(_PIECE_BYTES):
                body += piece
                if len(body) > max_bytes:
                    raise Dqm2ResponseTooLarge(f"the answer is longer than {max_bytes} bytes")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self.close()
            if time.monotonic() >= self._tls.deadline:
                raise Dqm2Unreachable(f"the answer took longer than {timeout_s:.0f} s") from error
            raise Dqm2InvalidResponse(f"the answer broke off: {_cause(error)}") from error
        finally:
            self.bytes_received += len(body)
            response.close()
        return body

    def _open_session(self) -> requests.Session:
        """The kept connection, made anew once the files are others than it was made of."""
        try:
            made_of = credentials.fingerprints(self._files)
        except UnreadableFile as error:
            raise Dqm2Refused(str(error)) from error
        if self._session is None or made_of != self._session_made_of:
            self.close()
            self._session = requests.Session()
            # Proxies and .netrc are the environment's, which the settings alone may read.
            self._session.trust_env = False
            self._tls = deadline_tls.client_context(verify=self._verify is not False)
            self._session.mount("https://", _OneConnection(self._tls))
            self._session.cert = (str(self._certificate[0]), str(self._certificate[1]))
            self._session.verify = self._verify
            self._session.headers["Cookie"] = f"{COOKIE_NAME}={self._secret}"
            self._session.headers["Accept-Encoding"] = "identity"
            self._session_made_of = made_of
        return self._session


class _OneConnection(HTTPAdapter):
    """Keeps one connection, made by a context of its own."""

    def __init__(self, tls: DeadlineSSLContext) -> None:
        self._tls = tls
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """As HTTPAdapter makes it, with the context."""
        super().init_poolmanager(*arguments, **options, ssl_context=self._tls)


def status_error(status: int) -> Dqm2Error:
    """What an answer of another status than 200 means; `Dqm2Unreachable` if the front end got none itself."""
    if 300 <= status < 400:
        return Dqm2Refused(f"sent away with status {status}: DQM_FFF_SECRET is not the one DQM² has")
    if status in _REFUSING:
        return Dqm2Refused(f"refused with status {status}: the grid certificate is not accepted")
    if status in _OF_FRONT_END:
        return Dqm2Unreachable(f"the front end answered with status {status}: no answer from the gateway")
    return Dqm2Failed(f"answered with status {status}")


def _cause(error: BaseException) -> str:
    """What is behind a wrapped network error, in few words and without the address that was asked."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in error.args if isinstance(part, BaseException)), None)
        if inner is None or inner is error:
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, TimeoutError):
        return "timed out"
    return type(error).__name__
