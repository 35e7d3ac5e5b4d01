"""`/cr/receivers`: the state of each receiver of notifications, for signed-in experts on the cluster page."""

from collections.abc import Sequence

from flask import Blueprint, current_app, render_template
from werkzeug.wrappers import Response as BaseResponse

from dqmsquare_cfg import Cluster
from storage.receiver_store import ReceiverReader, ReceiverStatus
from web import databases, query_args
from web.control_room import guards
from web.errors import DatabaseUnavailable
from web.responses import etag_response

bp = Blueprint("receivers", __name__)
guards.protect(bp)


@bp.get("/receivers")
def fragment() -> BaseResponse:
    """Show the receivers of a cluster. Everybody's cluster page asks: for others the response is empty."""
    cluster = query_args.page_cluster()
    if not _is_signed_in():
        return etag_response("")
    return etag_response(
        render_template("control_room/_receivers.html", cluster=cluster, receivers=_read(cluster))
    )


def _is_signed_in() -> bool:
    try:
        return guards.current_expert() is not None
    except DatabaseUnavailable:
        return False


def _read(cluster: Cluster) -> Sequence[ReceiverStatus] | None:
    """The receivers; `None` while the database is unavailable."""
    try:
        return ReceiverReader(databases.of_app(current_app)[cluster].transactions).notification_receivers()
    except DatabaseUnavailable:
        return None
