"""Error responses: one sentence, never a traceback, a path or an SQL statement.

Scripts get it as plain text, or as problem details from the API v1. Browsers, and whoever requests a page
that is not a file, get an HTML page with links to go on.
"""

import logging
from typing import Any, ClassVar

import sqlalchemy as sa
from flask import Flask, Response, current_app, render_template, request
from werkzeug.exceptions import HTTPException, InternalServerError, NotFound, ServiceUnavailable

from dqmsquare_cfg import Cluster
from runtime import logging_setup
from web import problems
from web.limits import OVERLOADED, RETRY_AFTER_S
from web.responses import FRAGMENT_HEADER

log = logging.getLogger(__name__)

INTERNAL_ERROR = "The mirror failed to process this request. Its log has the reason under {request_id}."
LOG_DELETED = "The log of this job is no longer kept."
LOG_DAMAGED = "The stored log of this job is damaged and can't be read."
DELIVERY_DAMAGED = "The stored file delivery of this run is damaged and can't be read."

# Files among the pages, which scripts download as well.
_FILES = (".csv", ".txt")
_PLAIN_TEXT_BLUEPRINTS = ("api", "health", "static_files")
# Setting of an application: the names of the blueprints that are pages.
PAGE_BLUEPRINTS = "PAGE_BLUEPRINTS"


class DatabaseUnavailable(sa.exc.SQLAlchemyError):
    """Raised when a cluster's database is unavailable; the message is a sentence for the client."""


class QueryFailed(DatabaseUnavailable):
    """Raised when a query of a cluster's database failed, though others may succeed.

    `predicate` says of the database what happened, and `hint` what the reader can do.
    """

    predicate: ClassVar[str]
    hint: ClassVar[str]

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(f"The database of the {cluster} cluster {self.predicate}.")


class DatabaseTooSlow(QueryFailed):
    """Raised when a query took too long."""

    predicate = "took too long"
    hint = "Try again, or choose a smaller range of runs."


class DataUnreadable(QueryFailed):
    """Raised when a query needs data that are damaged, or that the mirror may not read."""

    predicate = "can't read some of its data"
    hint = "Call the DQM expert, who calls the operator."


class RunItemNotFound(NotFound):
    """Raised if a run has no such job; the error page links to the run."""

    def __init__(self, description: str, cluster: Cluster, run: int) -> None:
        super().__init__(description)
        self.cluster = cluster
        self.run = run


def init_app(app: Flask) -> None:
    """Register the application's error handlers."""
    app.register_error_handler(HTTPException, http_error_response)
    app.register_error_handler(DatabaseUnavailable, database_unavailable)
    app.register_error_handler(sa.exc.TimeoutError, _pool_exhausted)
    app.register_error_handler(InternalServerError, _internal_error)


def http_error_response(error: HTTPException) -> Response:
    """Response for an HTTP error: its description, with its own headers."""
    is_own = error.description != NotFound.description
    sentence = error.description if is_own else "There is nothing at this address."
    status = error.code or InternalServerError.code
    # An old link is opened by people, though it is one of the API's.
    if isinstance(error, RunItemNotFound) and _prefers_html():
        sentence = f"The mirror does not have this job of run {error.run}."
        response = _page(sentence, status, cluster=error.cluster, run=error.run)
    else:
        response = _sentence(sentence or error.name, status)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def database_unavailable(error: DatabaseUnavailable) -> Response:
    """Response for a request that needs a database which is unavailable, or whose query failed."""
    # A part of a page repeats its request.
    if isinstance(error, QueryFailed) and FRAGMENT_HEADER not in request.headers:
        return _try_again(f"{error} {error.hint}")
    return _try_again(str(error))


def _pool_exhausted(_error: sa.exc.TimeoutError) -> Response:
    return _try_again(OVERLOADED)


def _internal_error(_error: InternalServerError) -> Response:
    return _sentence(
        INTERNAL_ERROR.format(request_id=logging_setup.request_id.get()), InternalServerError.code
    )


def _try_again(sentence: str) -> Response:
    # A page reloads by itself; a form is not sent again.
    reloads = request.method == "GET" and _wants_html()
    response = _sentence(sentence, ServiceUnavailable.code, reloads=reloads)
    if reloads:
        response.headers["Refresh"] = str(RETRY_AFTER_S)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    response.headers["Cache-Control"] = "no-store"
    return response


def _sentence(sentence: str, status: int, *, reloads: bool = False) -> Response:
    if problems.are_expected():
        return problems.response(status, sentence)
    if _wants_html():
        return _page(sentence, status, reloads=reloads)
    return Response(sentence, status, mimetype="text/plain")


def _page(sentence: str, status: int, **context: Any) -> Response:
    shown = {"cluster": _requested_cluster(), "clusters": tuple(Cluster), **context}
    return Response(render_template("error.html", sentence=sentence, status=status, **shown), status)


def _requested_cluster() -> Cluster | None:
    """Cluster of the page that was requested, if the request names one."""
    names = request.args.getlist("db")
    return next((cluster for cluster in Cluster if names == [cluster]), None)


def _wants_html() -> bool:
    if request.path.endswith(_FILES):
        return _prefers_html()
    blueprint = request.blueprint or ""
    if blueprint in current_app.config[PAGE_BLUEPRINTS] and FRAGMENT_HEADER not in request.headers:
        return request.accept_mimetypes.best_match(("text/html", "text/plain")) != "text/plain"
    return not blueprint.startswith(_PLAIN_TEXT_BLUEPRINTS) and _prefers_html()


def _prefers_html() -> bool:
    return request.accept_mimetypes.best_match(("text/plain", "text/html")) == "text/html"
