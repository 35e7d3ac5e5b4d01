"""Fetches a machine's headers; where all of them are too many, the newest.

A relayed response must begin within 5 s, and a request for headers has no upper bound
(docs/dqm2-protocol.md); the client of DQM² has a limit of its own. So ever higher revisions are requested
until there is a response: the newest documents are the ones that matter.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt

from dqm2.errors import Dqm2Failed, Dqm2InvalidResponse, Dqm2ResponseTooLarge
from dqm2.headers import Header, Headers
from grabbing import metrics
from grabbing.gateway_queue import GatewayQueue

log = logging.getLogger(__name__)

# Errors that a response which is too long ends in: for the gateway, and for the client.
_TOO_LONG = (Dqm2Failed, Dqm2ResponseTooLarge)
_TOO_LONG_FOR_GATEWAY = "the response that lists them is too long for the gateway"
# A revision that no machine reaches: a request from there on takes the machine no time.
_UNREACHABLE_REVISION = 2**62

_Fetch = Callable[[int | None], Headers]


@dataclass(frozen=True, slots=True)
class FetchedHeaders:
    """Headers, ascending by revision.

    `is_complete` is false if headers are missing or invalid. Below `first_available`, if it is set, no
    headers can be fetched, for `unavailable_reason`.
    """

    headers: Sequence[Header]
    is_complete: bool
    first_available: int | None = None
    unavailable_reason: str = ""


class HeaderFetcher:
    """Fetches headers of one machine; a failed attempt changes how the next one is made."""

    def __init__(self, gateway: GatewayQueue, host: str, label: str) -> None:
        self._fetch: _Fetch = partial(gateway.headers, host, label)
        self._fetch_patiently: _Fetch = partial(gateway.headers, host, label, is_responsive=True)
        self._cluster = gateway.cluster.value
        self._label = label
        self._has_failed = False
        self._was_incomplete = False

    def fetch(self, known_revision: int | None) -> FetchedHeaders:
        """The headers from `known_revision` on, all for `None`; or the newest, if those are too many.

        After a failure the machine is probed first: a dead one then costs no more than 5 s. One that answers
        the probe gets more time, and if it fails again, its response is too long. Raises Dqm2Error and
        Stopped.
        """
        is_retry, self._has_failed = self._has_failed, True
        fetch = self._fetch
        if is_retry:
            probe(fetch)
            fetch = self._fetch_patiently
        try:
            found, first_available, reason = fetch(known_revision), None, ""
        except _TOO_LONG as error:
            if not is_retry:
                raise
            first_available, found = find_newest_headers(fetch, known_revision or 0)
            reason = str(error) if isinstance(error, Dqm2ResponseTooLarge) else _TOO_LONG_FOR_GATEWAY
        self._has_failed = False
        self._tolerate_invalid(found)
        return FetchedHeaders(found.headers, found.missing_or_invalid == 0, first_available, reason)

    def fetch_once(self, known_revision: int) -> FetchedHeaders:
        """The headers from `known_revision` on, with no fallback. Raises Dqm2Error and Stopped."""
        found = self._fetch(known_revision)
        return FetchedHeaders(found.headers, found.missing_or_invalid == 0)

    def _tolerate_invalid(self, found: Headers) -> None:
        """Skip headers that are missing or invalid if they are so twice: the network may have been at fault.

        Raises Dqm2InvalidResponse the first time.
        """
        was_incomplete, self._was_incomplete = self._was_incomplete, found.missing_or_invalid > 0
        if not found.missing_or_invalid:
            return
        if not (was_incomplete and found.headers):
            raise Dqm2InvalidResponse(
                f"{found.missing_or_invalid} headers of the response are missing or invalid"
            )
        log.warning("headers_skipped host=%s headers=%d", self._label, found.missing_or_invalid)
        metrics.fields_dropped.labels(self._cluster, "header").inc(found.missing_or_invalid)


def probe(fetch: _Fetch) -> None:
    """Make a request that takes no time to answer. Raises Dqm2Error if the machine does not answer it."""
    fetch(_UNREACHABLE_REVISION)


def find_newest_headers(fetch: _Fetch, too_long_from: int) -> tuple[int, Headers]:
    """Search for the lowest revision from which headers can be fetched; return it with the headers.

    The search ends once more than half of the available revisions are found: each further request may cost
    the gateway 5 s. Raises Dqm2Error if the machine stops answering.
    """
    newest: tuple[int, Headers] | None = None
    low, high = too_long_from, _UNREACHABLE_REVISION
    while high - low > 1:
        middle = _midpoint(low, high)
        try:
            found = fetch(middle)
        except _TOO_LONG:
            probe(fetch)
            low = middle
            continue
        high = middle
        if found.headers:
            newest = middle, found
            if middle - low <= found.headers[-1].revision - middle:
                break
    if newest is None:
        raise Dqm2Failed("no headers can be fetched, however few are requested")
    return newest


def _midpoint(low: int, high: int) -> int:
    """The geometric mean while the two are far apart, so that 0 to 2**62 takes few steps; else the middle."""
    low = max(low, 1)
    return isqrt(low * high) if high > 4 * low else (low + high) // 2
