"""Parsers of query parameters; an invalid one is answered with status 400 and a sentence.

A repeated parameter is refused, since either value may be meant. An empty one counts as absent: forms send
the fields that were not filled in.
"""

import re
from collections.abc import Callable, Mapping
from uuid import UUID

from flask import Flask, request
from werkzeug.exceptions import BadRequest
from werkzeug.routing import IntegerConverter, Map

from dqm2.field_parsers import INT4_MAX
from dqmsquare_cfg import Cluster

# Condition on the query parameters of a request.
QueryCondition = Callable[[Mapping[str, str]], bool]
# PostgreSQL's `integer`, the type of run numbers.
INT_MIN, INT_MAX = -INT4_MAX - 1, INT4_MAX

# Behind an address in prose: the end of the sentence, a bracket around it, a quote.
AFTER_ADDRESS = ".,;:!?)]}>'\"*`"

# Digits are ASCII: `\d`, `int` and `str.isdigit` take those of other scripts as well.
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def text(name: str) -> str | None:
    """Text of a parameter; `None` if it is absent or empty.

    Raises BadRequest if it is repeated, or holds a NUL, which PostgreSQL's texts can't.
    """
    value = _single_value(name)
    if value is not None and "\0" in value:
        raise BadRequest(f"{name} must not hold a NUL")
    return value


def unchecked_text(name: str) -> str:
    """Text of a parameter for comparisons only, empty if it is absent. Raises BadRequest if repeated."""
    return _single_value(name) or ""


def cluster(name: str = "db", *, default: Cluster | None = None) -> Cluster:
    """Cluster that a parameter names. Raises BadRequest, also if it is absent and there is no default."""
    return _cluster(name, default, f"{name} must be one of {sorted(map(str, Cluster))}")


def page_cluster() -> Cluster:
    """Cluster of a page: production unless its URL names the other. Raises BadRequest."""
    refusal = f"There is no such cluster: db must be {' or '.join(sorted(Cluster))}."
    return _cluster("db", Cluster.PRODUCTION, refusal)


def page_run() -> int | None:
    """Run of a page, if its URL names one, also with punctuation behind it. Raises BadRequest."""
    value = (_single_value("run") or "").strip()
    number = parse_integer(value.rstrip(AFTER_ADDRESS))
    if value and number is None:
        raise BadRequest("There is no such run: run must be an integer.")
    return number


def integer(name: str, refusal: str) -> int | None:
    """Integer within PostgreSQL's range, with or without blanks around it; `None` if it is absent.

    Raises BadRequest with `refusal`.
    """
    value = (_single_value(name) or "").strip()
    if not value:
        return None
    number = parse_integer(value)
    if number is None:
        raise BadRequest(refusal)
    return number


def parse_integer(value: str, minimum: int = INT_MIN, maximum: int = INT_MAX) -> int | None:
    """Integer within bounds, with or without blanks around it; `None` for any other text."""
    value = value.strip()
    if not _INTEGER.fullmatch(value) or not minimum <= int(value) <= maximum:
        return None
    return int(value)


class RunConverter(IntegerConverter):
    """Run in the path of a URL."""

    regex = "[0-9]{1,10}"

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map, max=INT_MAX)


def init_app(app: Flask) -> None:
    """Let the rules of URLs have runs: `<run:name>`."""
    app.url_map.converters["run"] = RunConverter


def job_id(name: str) -> UUID | None:
    """Id of a job, in the form that the API gives it; `None` for any other text, which no job has."""
    value = unchecked_text(name)
    return UUID(value) if _UUID.fullmatch(value) else None


def _cluster(name: str, default: Cluster | None, refusal: str) -> Cluster:
    value = _single_value(name)
    if value is None and default is not None:
        return default
    try:
        return Cluster(value or "")
    except ValueError:
        raise BadRequest(refusal) from None


def _single_value(name: str) -> str | None:
    values = request.args.getlist(name)
    if len(values) > 1:
        raise BadRequest(f"{name} must be given once")
    return (values[0] or None) if values else None
