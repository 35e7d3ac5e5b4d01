"""The wall view `/?wall=1`, for a large screen: verdict, problems and freshness of both clusters.

Each cluster is a fragment that the page loads and keeps up to date.
"""

from flask import Blueprint, Response, render_template

from web import databases, query_args
from web.cache import dependencies
from web.pages import freshness
from web.pages.live import LiveViewParams, read_run
from web.responses import etag_response

bp = Blueprint("wall", __name__)

# As many as a screen holds below the verdict.
_MAX_PROBLEMS = 10


@bp.get("/live/wall")
@dependencies.cached_view
def fragment() -> Response:
    """The newest run of a cluster: verdict, clients with problems, age of the data."""
    cluster = query_args.page_cluster()
    live = read_run(databases.stale_ok_reader(cluster), LiveViewParams(cluster))
    problems = [row for row in live.rows if row.needs_attention or row.unmuted_crashes]
    status = freshness.read(cluster)
    return etag_response(
        render_template(
            "live/_wall_cluster.html",
            cluster=cluster,
            live=live,
            problems=problems[:_MAX_PROBLEMS],
            more=len(problems) - _MAX_PROBLEMS,
            outages=status.outages,
            machines=status.machines,
        )
    )
