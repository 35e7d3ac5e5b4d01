"""Errors of requests to DQM²: one tree, so that callers catch at the level that they care for.

A message may hold host names: redact it before it is stored, shown or logged.
"""


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
    """Raised for a response that exceeds the limit of bytes to read."""
