"""Error responses: one sentence, never a traceback, a path or an SQL statement.

Scripts get it as plain text; a browser that asks for a page gets an HTML page.
"""

import logging

import sqlalchemy as sa
from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException, InternalServerError, NotFound, ServiceUnavailable

from runtime import logging_setup
from web.limits import OVERLOADED, RETRY_AFTER_S

log = logging.getLogger(__name__)

_PLAIN_TEXT_BLUEPRINTS = ("api", "health", "static_files")


class DatabaseUnavailable(sa.exc.SQLAlchemyError):
    """Raised when a cluster's database is unavailable; the message is a sentence for the client."""


def init_app(app: Flask) -> None:
    """Register the application's error handlers."""
    app.register_error_handler(HTTPException, http_error_response)
    app.register_error_handler(DatabaseUnavailable, _database_unavailable)
    app.register_error_handler(sa.exc.TimeoutError, _pool_exhausted)
    app.register_error_handler(InternalServerError, _internal_error)


def http_error_response(error: HTTPException) -> Response:
    """Response for an HTTP error: its description, with its own headers."""
    is_own = error.description != NotFound.description
    sentence = error.description if is_own else "There is nothing at this address."
    response = _sentence(sentence or error.name, error.code or InternalServerError.code)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _database_unavailable(error: DatabaseUnavailable) -> Response:
    return _try_again(str(error))


def _pool_exhausted(_error: sa.exc.TimeoutError) -> Response:
    return _try_again(OVERLOADED)


def _internal_error(_error: InternalServerError) -> Response:
    return _sentence(
        f"The mirror failed at this. Its log has the reason under {logging_setup.request_id.get()}.",
        InternalServerError.code,
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
    if _wants_html():
        shown = {"sentence": sentence, "status": status, "reloads": reloads}
        return Response(render_template("error.html", **shown), status)
    return Response(sentence, status, mimetype="text/plain")


def _wants_html() -> bool:
    if (request.blueprint or "").startswith(_PLAIN_TEXT_BLUEPRINTS):
        return False
    accepted = request.accept_mimetypes
    return accepted.best_match(("text/plain", "text/html")) == "text/html"
