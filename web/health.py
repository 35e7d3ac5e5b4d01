"""`/healthz` and `/readyz`: whether the process lives, and whether it can answer.

Ready is who reaches a database and knows its schema. One of the two is enough: were a server taken out of
service because the playback cluster's database is away, the wall screens of production would go dark with it,
while pages of a cluster that can't be shown say so themselves. How fresh the mirror is is told beside it and
takes nobody out of service either: old data, said to be old, are better than none.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Blueprint, Response, current_app, jsonify

from runtime import version
from web import databases
from web.databases import ClusterDatabase
from web.errors import DatabaseUnavailable

bp = Blueprint("health", __name__)

# Body of `/healthz`.
ALIVE = b"ok\n"

_UNREADY = 503


@dataclass(frozen=True)
class Readiness:
    """Whether a cluster can be shown, why not, and how long ago its grabber last said that it lives (s).

    `warning` is what somebody should see to all the same.
    """

    ready: bool
    reason: str | None
    grabber_silent_s: float | None
    warning: str | None = None


@bp.get("/healthz")
def healthz() -> Response:
    """The process lives and answers."""
    return _uncached(Response(ALIVE, mimetype="text/plain"))


@bp.get("/readyz")
def readyz() -> Response:
    """Whether each cluster can be shown, with the reason why not; 503 if none can."""
    by_cluster = databases.of_app(current_app)
    found = {cluster: readiness(database) for cluster, database in by_cluster.items()}
    is_ready = any(one.ready for one in found.values())
    response = jsonify(
        ready=is_ready,
        version=str(version.current()),
        clusters={str(cluster): one for cluster, one in found.items()},
    )
    if not is_ready:
        response.status_code = _UNREADY
    return _uncached(response)


def readiness(database: ClusterDatabase) -> Readiness:
    """Whether a cluster can be shown now; the database is asked anew."""
    try:
        database.check_schema()
        freshness = database.uncached_reader().sync_status()
        adoption = database.uncached_reader().import_progress()
    except DatabaseUnavailable as error:
        return Readiness(ready=False, reason=str(error), grabber_silent_s=None)
    warning = None if adoption is None else str(adoption)
    if freshness is None:
        reason = "No grabber has worked here yet."
        return Readiness(ready=True, reason=reason, grabber_silent_s=None, warning=warning)
    silent_s = round((datetime.now(UTC) - freshness.heartbeat_at).total_seconds(), 1)
    return Readiness(ready=True, reason=None, grabber_silent_s=silent_s, warning=warning)


def _uncached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
