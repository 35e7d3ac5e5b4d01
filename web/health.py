"""`/healthz` and `/readyz`: whether the process is alive, and whether it can serve requests.

A server is ready if it reaches a database whose schema it knows. One of the two is enough: without playback's
database it still serves production's wall screens, and the pages of an unavailable cluster say so. Freshness
is reported but not required: old data that are marked as old are better than none.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Blueprint, Response, current_app, jsonify

from runtime import version
from storage.outages import NO_GRABBER
from web import databases
from web.databases import ClusterDatabase
from web.errors import DatabaseUnavailable

bp = Blueprint("health", __name__)

# Body of `/healthz`.
ALIVE = b"ok\n"


@dataclass(frozen=True)
class Readiness:
    """Whether a cluster can be shown, the reason if not, and the time since its grabber's last heartbeat (s).

    `warning` is for the operator; the cluster can be shown all the same.
    """

    ready: bool
    reason: str | None
    grabber_silent_s: float | None
    warning: str | None = None


@bp.get("/healthz")
def healthz() -> Response:
    """Report that the process is alive."""
    return _not_stored(Response(ALIVE, mimetype="text/plain"))


@bp.get("/readyz")
def readyz() -> Response:
    """Report the readiness of each cluster; 503 if none is ready."""
    by_cluster = databases.of_app(current_app)
    clusters = {cluster: readiness(database) for cluster, database in by_cluster.items()}
    is_ready = any(cluster.ready for cluster in clusters.values())
    response = jsonify(
        ready=is_ready,
        version=str(version.current()),
        clusters={str(cluster): each for cluster, each in clusters.items()},
    )
    if not is_ready:
        response.status_code = 503
    return _not_stored(response)


def readiness(database: ClusterDatabase) -> Readiness:
    """Look up whether a cluster can be shown now."""
    try:
        database.check_schema()
        status = database.uncached_reader().cluster.sync_status()
        import_progress = database.uncached_reader().import_progress()
    except DatabaseUnavailable as error:
        return Readiness(ready=False, reason=str(error), grabber_silent_s=None)
    warnings = (NO_GRABBER if status is None else None, import_progress)
    return Readiness(
        ready=True,
        reason=None,
        grabber_silent_s=None if status is None else _seconds_since(status.heartbeat_at),
        warning="; ".join(str(warning) for warning in warnings if warning is not None) or None,
    )


def _seconds_since(at: datetime) -> float:
    return round((datetime.now(UTC) - at).total_seconds(), 1)


def _not_stored(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
