"""Requests to DQM² through CMSWEB: grid certificate, cookie, and the gateway that relays to its machines.

A client asks one thing at a time over one kept connection, follows no redirect and repeats nothing by itself.
Every answer is bounded in time and bytes and parsed here, so that behind this door everything is typed.
Facts about the far side: protocol, "The way in" and "Reading documents".
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import requests
from requests.adapters import HTTPAdapter

from dqm2.identity import short_name
from dqmsquare_cfg import Settings
from mirror.records import Cluster, MachineState

# DQM²'s port on every machine, and the cookie it knows its friends by.
_DQM2_PORT = 9215
_COOKIE = "selenium-secret-secret"

# How long to wait for a connection, for the next piece of an answer, and for all of it. The gateway may be
# busy with others for a while; it gives a relayed machine 5 s to begin.
_CONNECT_S = 5.0
_PIECE_S = 20.0
_HEADERS_S = 120.0
_DOCUMENTS_S = 60.0
_STATUS_S = 150.0

# What can be the name of a machine in an answer, where the text of an error may stand instead.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")

# The largest answers that are read: 500,000 headers, and a batch of documents.
_HEADERS_BYTES = 256 * 1024 * 1024
_DOCUMENTS_BYTES = 96 * 1024 * 1024
_STATUS_BYTES = 1024 * 1024
_PIECE_BYTES = 1024 * 1024

# Ids become SQL variables at the far side, of which old servers take 999.
MOST_IDS = 500


class Dqm2Error(Exception):
    """A question to DQM² that has no usable answer; the message may hold host names: redact before use."""


class Dqm2Unreachable(Dqm2Error):
    """The front end or the gateway gives no answer: this concerns every machine."""


class Dqm2Refused(Dqm2Error):
    """The front end or DQM² does not accept the certificate or the secret."""


class Dqm2Failed(Dqm2Error):
    """An error answer: the machine failed, or the gateway could not reach it in time."""


class Dqm2Garbled(Dqm2Error):
    """An answer that is not what was asked for: cut off, too large, no JSON, or of another shape."""


@dataclass(frozen=True, slots=True)
class Header:
    """A document as the machine announces it; `type` and `updated_at` can be missing."""

    id: str
    revision: int
    type: str | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Headers:
    """The headers of an answer, ascending by revision, and how many entries of it were none."""

    headers: Sequence[Header]
    unreadable: int


class Dqm2Client:
    """The way to one cluster's machines. Not for use by several threads at once."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.cmsweb_frontend_proxy_url
        self._gateway = settings.server_fff_machine
        self._secret = settings.dqm_fff_secret
        self._certificate = (settings.server_grid_cert_path, settings.server_grid_key_path)
        ca_path = settings.cmsweb_ca_path
        self._verify = str(ca_path) if isinstance(ca_path, Path) else ca_path
        self._session: requests.Session | None = None
        self._session_made_of: tuple[tuple[int, int, int], ...] = ()
        self.bytes_read = 0

    def headers(self, machine: str, known_revision: int | None) -> Headers:
        """The headers of a machine's documents from `known_revision` on, it included; `None` asks for all."""
        known = None if known_revision is None else str(known_revision)
        question = {"event": "sync_request", "known_rev": known}
        answer = self._ask(machine, question, timeout_s=_HEADERS_S, most_bytes=_HEADERS_BYTES)
        headers: list[Header] = []
        unreadable = 0
        for entry in _entries(answer, "update_headers", "headers"):
            header = _header(entry)
            if header is None:
                unreadable += 1
            else:
                headers.append(header)
        headers.sort(key=lambda header: header.revision)
        return Headers(headers, unreadable)

    def documents(self, machine: str, ids: Sequence[str]) -> dict[str, Mapping[str, object]]:
        """The documents of those ids that are still there, by id; at most MOST_IDS are asked for at once."""
        if len(ids) > MOST_IDS:
            raise ValueError(f"{len(ids)} ids asked for at once, {MOST_IDS} is the most")
        question = {"event": "request_documents", "ids": list(ids)}
        answer = self._ask(machine, question, timeout_s=_DOCUMENTS_S, most_bytes=_DOCUMENTS_BYTES)
        asked = set(ids)
        documents: dict[str, Mapping[str, object]] = {}
        for entry in _entries(answer, "update_documents", "documents"):
            document_id = entry.get("_id") if isinstance(entry, dict) else None
            if isinstance(entry, dict) and isinstance(document_id, str) and document_id in asked:
                documents[document_id] = entry
        return documents

    def cluster_status(self, cluster: Cluster) -> list[MachineState]:
        """Which machines of a cluster answer, as the gateway finds: by full name, reasons as they came."""
        response = self._request(
            "GET",
            f"{self._base}/cr/exe",
            params={"what": "get_cluster_status", "cluster": cluster.value},
            timeout_s=_STATUS_S,
        )
        status = _json(self._body(response, _STATUS_S, _STATUS_BYTES))
        if not isinstance(status, dict):
            raise Dqm2Garbled("the cluster's status is no object")
        return [
            _machine_state(machine, state) for machine, state in status.items() if _HOST.fullmatch(machine)
        ]

    def close(self) -> None:
        """Closes the kept connection."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _ask(self, machine: str, question: Mapping[str, Any], *, timeout_s: float, most_bytes: int) -> bytes:
        message = orjson.dumps({"messages": [orjson.dumps(question).decode()]})
        if short_name(machine) == self._gateway:
            url, params = f"{self._base}/sync_proxy", None
        else:
            url, params = f"{self._base}/redirect", {"path": machine, "port": str(_DQM2_PORT)}
        response = self._request("POST", url, params=params, data=message, timeout_s=timeout_s)
        return self._body(response, timeout_s, most_bytes)

    def _request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        timeout_s: float,
    ) -> requests.Response:
        try:
            response = self._open_session().request(
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
            raise _refusal(response.status_code)
        return response

    def _body(self, response: requests.Response, timeout_s: float, most_bytes: int) -> bytes:
        ends = time.monotonic() + timeout_s
        body = bytearray()
        try:
            for piece in response.iter_content(_PIECE_BYTES):
                body += piece
                if len(body) > most_bytes:
                    raise Dqm2Garbled(f"the answer is longer than {most_bytes} bytes")
                if time.monotonic() > ends:
                    raise Dqm2Unreachable(f"the answer took longer than {timeout_s:.0f} s")
        except (requests.exceptions.RequestException, OSError) as error:
            self.close()
            raise Dqm2Garbled(f"the answer broke off: {_cause(error)}") from error
        finally:
            self.bytes_read += len(body)
            response.close()
        return bytes(body)

    def _open_session(self) -> requests.Session:
        """The kept connection, made anew once the certificate's files are others than it was made of."""
        made_of = tuple(_file_state(path) for path in self._certificate)
        if self._session is None or made_of != self._session_made_of:
            self.close()
            self._session = requests.Session()
            # Proxies and .netrc are the environment's, which the settings alone may read.
            self._session.trust_env = False
            self._session.mount("https://", HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0))
            self._session.cert = (str(self._certificate[0]), str(self._certificate[1]))
            self._session.verify = self._verify
            self._session.headers["Cookie"] = f"{_COOKIE}={self._secret}"
            self._session.headers["Accept-Encoding"] = "identity"
            self._session_made_of = made_of
        return self._session


def _file_state(path: Path) -> tuple[int, int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise Dqm2Refused(f"{path.name} can't be read: {error.strerror}") from error
    return state.st_ino, state.st_mtime_ns, state.st_size


def _refusal(status: int) -> Dqm2Error:
    if 300 <= status < 400:
        return Dqm2Refused(f"sent away with status {status}: DQM_FFF_SECRET is not the one DQM² has")
    if status in (401, 403):
        return Dqm2Refused(f"refused with status {status}: the grid certificate is not accepted")
    if status in (502, 503, 504):
        return Dqm2Unreachable(f"the front end answered with status {status}: it can't reach the gateway")
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


def _entries(answer: bytes, event: str, field: str) -> Iterator[object]:
    """The entries of all messages of an answer, each of which must be of the event that was asked for."""
    envelope = _json(answer)
    messages = envelope.get("messages") if isinstance(envelope, dict) else None
    if not isinstance(messages, list):
        raise Dqm2Garbled("the answer has no list of messages")
    for text in messages:
        message = _json(text) if isinstance(text, str) else None
        if not isinstance(message, dict) or message.get("event") != event:
            raise Dqm2Garbled(f"a message of the answer is no {event}")
        entries = message.get(field)
        if not isinstance(entries, list):
            raise Dqm2Garbled(f"an {event} has no list of {field}")
        yield from entries


def _json(text: bytes | str) -> Any:
    """JSON as DQM² writes it: Python's, in which NaN, Infinity and lone surrogates occur."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        pass
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise Dqm2Garbled("the answer is no JSON") from error


def _header(entry: object) -> Header | None:
    if not isinstance(entry, dict):
        return None
    document_id, revision, kind = entry.get("_id"), _whole(entry.get("_rev")), entry.get("type")
    if not isinstance(document_id, str) or not document_id or revision is None:
        return None
    return Header(
        id=document_id,
        revision=revision,
        type=kind if isinstance(kind, str) else None,
        updated_at=_time(entry.get("timestamp")),
    )


def _whole(value: object) -> int | None:
    """A revision: a whole number that the database can hold, as a number or as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    return None


def _time(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _machine_state(machine: str, state: object) -> MachineState:
    up = state.get("up") if isinstance(state, dict) else None
    if not isinstance(state, dict) or not isinstance(up, bool):
        raise Dqm2Garbled("a machine's status is not told")
    reason = state.get("msg")
    return MachineState(machine, up, None if reason is None else str(reason))
