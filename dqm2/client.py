"""HTTP client of DQM² for reads: through CMSWEB with grid certificate and cookie, to the gateway and beyond.

A client sends one request at a time over one kept connection, follows no redirects and never retries. Every
response is limited in time and bytes; headers are parsed as they arrive (docs/dqm2-protocol.md, "Access" and
"Reading documents").
"""

import json
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from config.parsers import short_name
from dqm2 import certificate, credentials, deadline_tls
from dqm2.credentials import COOKIE_NAME, Fingerprint, UnreadableFile
from dqm2.deadline_tls import DeadlineSSLContext
from dqm2.errors import (
    Dqm2InvalidResponse,
    Dqm2Refused,
    Dqm2ResponseTooLarge,
    Dqm2Unreachable,
    status_error,
)
from dqm2.headers import Headers, parse_headers
from dqm2.network_errors import cause, rejects_certificate
from dqm2.sync_messages import ClusterStatus, ResponseBody, parse_cluster_status
from dqmsquare_cfg import Cluster, Settings

# DQM² passes ids on as SQL variables; old servers accept 999.
MAX_IDS = 500

_DQM2_PORT = 9215

# Limits of connecting, of waiting for the next bytes, and of whole responses. The gateway may be busy for a
# while; it gives another machine 5 s to begin its response. It has no limit for itself, and lists a million
# headers in 19 s and more.
_CONNECT_S = 5.0
_READ_S = 20.0
_HEADERS_S = 120.0
_DOCUMENTS_S = 60.0
_STATUS_S = 150.0

# MAX_HEADERS headers, and a batch of documents.
_HEADERS_BYTES = 512 * 1024 * 1024
_DOCUMENTS_BYTES = 96 * 1024 * 1024
_STATUS_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024


class Dqm2Client:
    """Client for the machines of a cluster. Not safe for use by several threads."""

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
        self._session_fingerprints: tuple[Fingerprint, ...] = ()
        self.bytes_received = 0

    def get_headers(
        self, machine: str, known_revision: int | None, *, is_responsive: bool = False
    ) -> Headers:
        """Headers of a machine's documents from `known_revision` on, inclusive; `None` requests all.

        `is_responsive`: the machine has just answered, so its response may begin as late as it has to end.
        """
        known = None if known_revision is None else str(known_revision)
        message = {"event": "sync_request", "known_rev": known}
        read_s = _HEADERS_S if is_responsive else _READ_S
        response = self._sync(machine, message, timeout_s=_HEADERS_S, read_s=read_s)
        with closing(self._chunks(response, _HEADERS_S, _HEADERS_BYTES)) as chunks:
            return parse_headers(chunks)

    def get_documents(self, machine: str, ids: Sequence[str]) -> ResponseBody:
        """Response with the documents of at most MAX_IDS ids, for `parse_documents`."""
        if len(ids) > MAX_IDS:
            raise ValueError(f"{len(ids)} ids requested at once, more than {MAX_IDS}")
        message = {"event": "request_documents", "ids": list(ids)}
        response = self._sync(machine, message, timeout_s=_DOCUMENTS_S, read_s=_READ_S)
        return self._read(response, _DOCUMENTS_S, _DOCUMENTS_BYTES)

    def get_cluster_status(self, cluster: Cluster) -> ClusterStatus:
        """Reachability of a cluster's machines, as the gateway finds it."""
        response = self._request(
            "GET",
            f"{self._base}/cr/exe",
            params={"what": "get_cluster_status", "cluster": cluster.value},
            timeout_s=_STATUS_S,
            read_s=_READ_S,
        )
        return parse_cluster_status(self._read(response, _STATUS_S, _STATUS_BYTES))

    def close(self) -> None:
        """Close the kept connection."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _sync(
        self, machine: str, message: Mapping[str, Any], *, timeout_s: float, read_s: float
    ) -> requests.Response:
        # The standard library's JSON, as in DQM²: an id may hold a lone surrogate, which orjson rejects.
        data = json.dumps({"messages": [json.dumps(message)]}).encode("ascii")
        if short_name(machine) == self._gateway:
            url, params = f"{self._base}/sync_proxy", None
        else:
            url, params = f"{self._base}/redirect", {"path": machine, "port": str(_DQM2_PORT)}
        return self._request("POST", url, params=params, data=data, timeout_s=timeout_s, read_s=read_s)

    def _request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        timeout_s: float,
        read_s: float,
    ) -> requests.Response:
        session = self._open_session()
        self._tls.deadline = time.monotonic() + timeout_s
        try:
            response = session.request(
                method,
                url,
                params=params,
                data=data,
                timeout=(_CONNECT_S, min(read_s, timeout_s)),
                allow_redirects=False,
                stream=True,
            )
        except requests.exceptions.SSLError as error:
            self.close()
            raise Dqm2Refused(self._explained(f"TLS failed: {cause(error)}")) from error
        except (requests.exceptions.RequestException, OSError) as error:
            self.close()
            raise Dqm2Unreachable(self._explained(f"no response: {cause(error)}")) from error
        if response.status_code != requests.codes.ok:
            response.close()
            raise status_error(response.status_code)
        return response

    def _read(self, response: requests.Response, timeout_s: float, max_bytes: int) -> ResponseBody:
        # Joined at once: kept apart, chunks of a byte or two would take twenty times their size.
        body = bytearray()
        for chunk in self._chunks(response, timeout_s, max_bytes):
            body += chunk
        return body

    def _chunks(
        self, response: requests.Response, timeout_s: float, max_bytes: int
    ) -> Generator[bytes, None, None]:
        """The body as it arrives; raises Dqm2Error once it is too long, takes too long or is interrupted."""
        received = 0
        try:
            # One socket read at a time, so that a body over the limit is noticed early.
            while chunk := self._read_chunk(response, timeout_s):
                received += len(chunk)
                if received > max_bytes:
                    raise Dqm2ResponseTooLarge(f"the response is longer than {max_bytes} bytes")
                yield chunk
        finally:
            self.bytes_received += received
            response.close()

    def _read_chunk(self, response: requests.Response, timeout_s: float) -> bytes:
        try:
            chunk: bytes = response.raw.read1(_CHUNK_BYTES)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self.close()
            if time.monotonic() >= self._tls.deadline:
                raise Dqm2Unreachable(f"the response took longer than {timeout_s:.0f} s") from error
            raise Dqm2InvalidResponse(f"the response was interrupted: {cause(error)}") from error
        return chunk

    def _open_session(self) -> requests.Session:
        """The kept session; a new one if its credential files have changed."""
        try:
            return self._session_of(credentials.fingerprints(self._files))
        except UnreadableFile as error:
            raise Dqm2Refused(str(error)) from error

    def _session_of(self, fingerprints: tuple[Fingerprint, ...]) -> requests.Session:
        if self._session is None or fingerprints != self._session_fingerprints:
            self.close()
            self._tls = self._tls_context()
            self._session = _Session()
            # Ignore proxies of the environment and .netrc: only the settings configure the client.
            self._session.trust_env = False
            # No cookie of a response is kept: with a new name in each, they would grow without end.
            self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
            self._session.mount("https://", _SingleConnectionAdapter(self._tls))
            self._session.cert = (str(self._certificate[0]), str(self._certificate[1]))
            self._session.verify = self._verify
            self._session.headers["Cookie"] = f"{COOKIE_NAME}={self._secret}"
            self._session.headers["Accept-Encoding"] = "identity"
            self._session_fingerprints = fingerprints
        return self._session

    def _explained(self, reason: str) -> str:
        """A reason for a failed connection, with the certificate or the setting that leads to it."""
        # A front end that only closes the connection may have rejected the certificate.
        if certificate.has_expired(self._certificate[0]):
            return f"{reason}; the grid certificate has expired"
        if rejects_certificate(reason):
            return f"{reason}; the front end does not accept the certificate in SERVER_GRID_CERT_PATH"
        if "certificate verify failed" in reason:
            return f"{reason}; set CMSWEB_CA_PATH to the front end's certificate authorities"
        return reason

    def _tls_context(self) -> DeadlineSSLContext:
        """A context with the files of the settings; `requests` loads them again, and does not name them."""
        context = deadline_tls.client_context(verify=self._verify is not False)
        credentials.load_certificate(context, *self._certificate)
        if isinstance(self._verify, str):
            credentials.load_authorities(context, Path(self._verify))
        return context


class _Session(requests.Session):
    """Session that follows no redirect, and does not look where one leads.

    `requests` parses the address even then, and raises ValueError for `http://[`.
    """

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No target."""


class _SingleConnectionAdapter(HTTPAdapter):
    """Adapter with one kept connection, made with a given TLS context."""

    def __init__(self, tls: DeadlineSSLContext) -> None:
        self._tls = tls
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Create the pool with the TLS context."""
        super().init_poolmanager(*arguments, **options, ssl_context=self._tls)
