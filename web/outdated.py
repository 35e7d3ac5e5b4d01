"""Kept data in place of a query that failed: only a response that says so, a whole page, may use them.

A part of a page is refused: it stays as it is in the browser, which says so (`static/js/connection.js`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import Flask, Response, g, has_request_context, request

from web.errors import DatabaseTooSlow, QueryFailed, database_unavailable

_KEY = "outdated"


@dataclass(slots=True)
class _Outdated:
    """Kept data that a response uses: the first error that led to it, and when the oldest of them were read.

    `slow_query` is the first error of a query that took too long.
    """

    error: QueryFailed
    read_at: datetime
    slow_query: DatabaseTooSlow | None = None
    is_stated: bool = False


def init_app(app: Flask) -> None:
    """Give pages the time of kept data, and refuse responses that use such data without saying so."""
    app.jinja_env.globals["outdated_since"] = _since
    app.jinja_env.globals["outdated_reason"] = _reason
    app.after_request(_refuse_unless_stated)


def slow_query() -> DatabaseTooSlow | None:
    """The error of a query of the current response that took too long, if one did and kept data were used."""
    outdated: _Outdated | None = g.get(_KEY) if has_request_context() else None
    return None if outdated is None else outdated.slow_query


def use(error: QueryFailed, age_s: float) -> None:
    """Note that kept data of this age are used. Raises the error where a response could not say so."""
    if not has_request_context() or request.method not in ("GET", "HEAD"):
        raise error
    now = datetime.now(UTC)
    outdated: _Outdated = g.setdefault(_KEY, _Outdated(error, now))
    outdated.read_at = min(outdated.read_at, now - timedelta(seconds=age_s))
    if isinstance(error, DatabaseTooSlow):
        outdated.slow_query = outdated.slow_query or error


def _reason() -> QueryFailed | None:
    """The first reason for which this page uses kept data; `None` if it does not."""
    outdated: _Outdated | None = g.get(_KEY)
    return None if outdated is None else outdated.error


def _since() -> datetime | None:
    """The time at which the oldest kept data of this page were read, which the page then states."""
    outdated: _Outdated | None = g.get(_KEY)
    if outdated is None:
        return None
    outdated.is_stated = True
    return outdated.read_at


def _refuse_unless_stated(response: Response) -> Response:
    outdated: _Outdated | None = g.get(_KEY)
    if outdated is None or outdated.is_stated:
        return response
    return database_unavailable(outdated.error)
