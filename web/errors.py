"""What a visitor gets instead of an answer: one sentence, never a trace, a path or a statement.

Scripts get it as plain text; a browser that asks for a page gets it on one.
"""

import logging

import sqlalchemy as sa
from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException, InternalServerError, NotFound, ServiceUnavailable

from runtime import logging_setup
from web.away import DatabaseAway
from web.serving.busy import RETRY_AFTER_S, SENTENCE

log = logging.getLogger(__name__)

_FOR_SCRIPTS = ("api", "health", "static_files")


def init_app(app: Flask) -> None:
    """Registers what every room answers its errors with."""
    app.register_error_handler(HTTPException, refused)
    app.register_error_handler(DatabaseAway, away)
    app.register_error_handler(sa.exc.TimeoutError, busy)
    app.register_error_handler(InternalServerError, failed)


def refused(error: HTTPException) -> Response:
    """An HTTP error as its sentence."""
    is_own = error.description != NotFound.description
    said = error.description if is_own else "There is nothing at this address."
    response = _sentence(said or error.name, error.code or InternalServerError.code)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def away(error: DatabaseAway) -> Response:
    """A database that can't answer: 503."""
    return _try_again(str(error))


def busy(_error: sa.exc.TimeoutError) -> Response:
    """All connections to the database are in use: 503."""
    return _try_again(SENTENCE)


def failed(_error: InternalServerError) -> Response:
    """What no one foresaw; the log has it under the request's id."""
    return _sentence(
        f"The mirror failed at this. Its log has the reason under {logging_setup.request_id.get()}.",
        InternalServerError.code,
    )


def _try_again(sentence: str) -> Response:
    # A page comes by itself once it can be had; what a form has sent is not sent again.
    comes_by_itself = request.method == "GET" and _is_for_browser()
    response = _sentence(sentence, ServiceUnavailable.code, comes_by_itself=comes_by_itself)
    if comes_by_itself:
        response.headers["Refresh"] = str(RETRY_AFTER_S)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    response.headers["Cache-Control"] = "no-store"
    return response


def _sentence(sentence: str, status: int, *, comes_by_itself: bool = False) -> Response:
    if _is_for_browser():
        shown = {"sentence": sentence, "status": status, "comes_by_itself": comes_by_itself}
        return Response(render_template("error.html", **shown), status)
    return Response(sentence, status, mimetype="text/plain")


def _is_for_browser() -> bool:
    if (request.blueprint or "").startswith(_FOR_SCRIPTS):
        return False
    accepted = request.accept_mimetypes
    return accepted.best_match(("text/plain", "text/html")) == "text/html"
