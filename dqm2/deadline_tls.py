"""TLS connections with a deadline for the whole response, whatever the rate at which bytes arrive.

A socket time-out restarts with each byte received, so a response that trickles in would never time out.
"""

import math
import ssl
import time
from typing import Any


class DeadlineSSLSocket(ssl.SSLSocket):
    """TLS socket that observes its context's deadline in addition to its own time-out."""

    context: "DeadlineSSLContext"

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive available bytes. Raises TimeoutError after the deadline."""
        remaining_s = self.context.deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        if remaining_s < (self.gettimeout() or math.inf):
            self.settimeout(remaining_s)
        return super().recv_into(buffer, nbytes, flags)


class DeadlineSSLContext(ssl.SSLContext):
    """TLS context whose sockets stop receiving at `deadline`, a time of the monotonic clock.

    The deadline can be set again for each request. A handshake is limited by its connection's time-out only.
    """

    sslsocket_class = DeadlineSSLSocket
    deadline = math.inf


def client_context(*, verify: bool) -> DeadlineSSLContext:
    """Client-side context; the caller loads the CA certificates to verify against."""
    context = DeadlineSSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
