"""What a visitor gets instead of an answer: one sentence, never a trace, a path or a statement."""

from flask import Flask, Response
from werkzeug.exceptions import HTTPException


def init_app(app: Flask) -> None:
    """Registers what every room answers its errors with."""
    app.register_error_handler(HTTPException, refused)


def refused(error: HTTPException) -> Response:
    """An HTTP error as its sentence in plain text."""
    response = Response(error.description, error.code, mimetype="text/plain")
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response
