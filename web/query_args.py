"""Parameters of an address, parsed at the door; one that does not hold is a 400 with a sentence.

A parameter counts once: given twice it is refused, since neither value can be meant. An empty one counts as
absent, as a form sends it that was not filled in.
"""

import re
from uuid import UUID

from flask import request
from werkzeug.exceptions import BadRequest

from dqmsquare_cfg import Cluster

# PostgreSQL's `integer`, which is what runs are kept as.
INT_MIN, INT_MAX = -(2**31), 2**31 - 1

_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def text(name: str) -> str | None:
    """A parameter as it was sent; `None` if it is absent or empty.

    Raises BadRequest if it is repeated, or holds what no text of PostgreSQL can.
    """
    given = _once(name)
    if given is not None and "\0" in given:
        raise BadRequest(f"{name} must not hold a NUL")
    return given


def cluster(name: str = "db", *, default: Cluster | None = None) -> Cluster:
    """The cluster that a parameter names. Raises BadRequest; so it does without a default if it is absent."""
    given = _once(name)
    if given is None and default is not None:
        return default
    try:
        return Cluster(given or "")
    except ValueError:
        raise BadRequest(f"{name} must be one of {sorted(map(str, Cluster))}") from None


def shown_cluster() -> Cluster:
    """The cluster that a page shows: production unless its address names the other. Raises BadRequest."""
    return cluster(default=Cluster.PRODUCTION)


def integer(name: str, refusal: str) -> int | None:
    """A whole number that PostgreSQL can hold; `None` if it is absent. Raises BadRequest with `refusal`."""
    given = _once(name)
    if given is None:
        return None
    if not _INTEGER.fullmatch(given) or not INT_MIN <= int(given) <= INT_MAX:
        raise BadRequest(refusal)
    return int(given)


def job(name: str) -> UUID | None:
    """The id of a job, as the API gives it; `None` for anything that is none, which no job can have."""
    given = _once(name) or ""
    return UUID(given) if _ID.fullmatch(given) else None


def _once(name: str) -> str | None:
    values = request.args.getlist(name)
    if len(values) > 1:
        raise BadRequest(f"{name} must be given once")
    return (values[0] or None) if values else None
