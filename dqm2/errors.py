"""Errors of requests to DQM²: one tree, so that callers catch at the level that they care for.

A message may hold host names: redact it before it is stored, shown or logged.
"""

from http import HTTPStatus

_CERTIFICATE_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_GATEWAY_UNREACHABLE = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


class Dqm2Error(Exception):
    """Raised when a request to DQM² has no usable response."""


class Dqm2Unreachable(Dqm2Error):
    """Raised when the front end or the gateway does not respond, which concerns every machine."""


class Dqm2Refused(Dqm2Error):
    """Raised when the front end or DQM² does not accept the certificate or the secret."""


class Dqm2Failed(Dqm2Error):
    """Raised on an error status: the machine failed, or the gateway could not reach it in time."""


class Dqm2InvalidResponse(Dqm2Error):
    """Raised for a response that is truncated, too large, not JSON or not of the expected shape."""


class Dqm2ResponseTooLarge(Dqm2InvalidResponse):
    """Raised for a response that exceeds a limit of the client; the message has the limit."""


def status_error(status: int) -> Dqm2Error:
    """Error for a status other than 200; `Dqm2Unreachable` if the front end passed on no response."""
    if 300 <= status < 400:
        return Dqm2Refused(
            f"redirected with status {status}, as to sign in: "
            "DQM_FFF_SECRET differs from DQM²'s, or the grid certificate is not accepted"
        )
    if status in _CERTIFICATE_REFUSED:
        return Dqm2Refused(f"refused with status {status}: the grid certificate is not accepted")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Dqm2Unreachable(f"the front end answered with status {status}: too many requests")
    if status in _GATEWAY_UNREACHABLE:
        return Dqm2Unreachable(f"the front end answered with status {status}: no response from the gateway")
    if status == HTTPStatus.NOT_FOUND:
        return Dqm2Failed(
            f"answered with status {status}: CMSWEB_FRONTEND_PROXY_URL may not be the URL of DQM²"
        )
    return Dqm2Failed(f"answered with status {status}")
