"""What a question to DQM² can end in: one tree, so that callers catch at the level that they care for.

A message may hold host names: redact it before it is stored, shown or logged.
"""


class Dqm2Error(Exception):
    """A question to DQM² that has no usable answer."""


class Dqm2Unreachable(Dqm2Error):
    """The front end or the gateway gives no answer: this concerns every machine."""


class Dqm2Refused(Dqm2Error):
    """The front end or DQM² does not accept the certificate or the secret."""


class Dqm2Failed(Dqm2Error):
    """An error answer: the machine failed, or the gateway could not reach it in time."""


class Dqm2InvalidResponse(Dqm2Error):
    """An answer that is not what was asked for: cut off, too large, no JSON, or of another shape."""


class Dqm2ResponseTooLarge(Dqm2InvalidResponse):
    """An answer of more bytes than are read."""
