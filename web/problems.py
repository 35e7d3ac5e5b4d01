"""Error responses of the API v1: problem details as specified by RFC 9457, in `application/problem+json`."""

from http import HTTPStatus

import msgspec
from flask import Flask, Response, current_app, request

from dqmsquare_cfg import Settings

MEDIA_TYPE = "application/problem+json"
# Path of the API below the prefix of the server.
API_PATH = "/api/v1"

_CONFIG_KEY = "API_V1_ROOT"


class Problem(msgspec.Struct, kw_only=True):
    """Reason for which a request has no other response (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


def init_app(app: Flask, settings: Settings) -> None:
    """Have errors below the API's address answered with problem details."""
    app.config[_CONFIG_KEY] = api_root(settings)


def api_root(settings: Settings) -> str:
    """The path below which the API is."""
    return f"{settings.server_url_prefix}{API_PATH}"


def root() -> str:
    """The path below which the current application's API is."""
    path: str = current_app.config[_CONFIG_KEY]
    return path


def are_expected() -> bool:
    """Whether the current request is for something below the API's address."""
    return is_below(root(), request.path)


def is_below(api: str, path: str) -> bool:
    """Whether a path is the root of the API or below it."""
    return path == api or path.startswith(f"{api}/")


def is_in_any(path: str) -> bool:
    """Whether a path is of the API below any prefix, for errors that are found before the prefix is known."""
    return f"{API_PATH}/" in f"{path}/"


def response(status: int, detail: str) -> Response:
    """Response with problem details."""
    return Response(body(status, detail), status, content_type=MEDIA_TYPE)


def body(status: int, detail: str) -> bytes:
    """Problem details; a title of its own would need a type, so it is that of the status."""
    return msgspec.json.encode(Problem(title=HTTPStatus(status).phrase, status=status, detail=detail))
