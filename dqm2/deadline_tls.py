"""TLS connections that end their patience at a point in time, however often the other side sends a byte.

A time-out alone begins anew with each byte: an answer that drips would keep whoever waits for it for ever.
"""

import math
import ssl
import time
from typing import Any


class DeadlineSSLSocket(ssl.SSLSocket):
    """A connection that waits as long as its context does, and for a piece as long as its time-out."""

    context: "DeadlineSSLContext"

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receives what has come. Raises TimeoutError once the time is up."""
        left_s = self.context.deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        if left_s < (self.gettimeout() or math.inf):
            self.settimeout(left_s)
        return super().recv_into(buffer, nbytes, flags)


class DeadlineSSLContext(ssl.SSLContext):
    """What connections are made by that wait until `deadline` at most, by the monotonic clock.

    It may be set anew for each question. A handshake has the time-out that its connection is made with.
    """

    sslsocket_class = DeadlineSSLSocket
    deadline = math.inf


def client_context(*, verify: bool) -> DeadlineSSLContext:
    """A client's side of TLS, which verifies the other side or not; by whom is yet to be told to it."""
    made = DeadlineSSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made
