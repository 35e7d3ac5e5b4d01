"""The live page `/`: a run and its jobs, kept up to date part by part.

A part is a template of `templates/live/`. The page is made of them, and a script asks for them again as long
as the page is open; one that has not changed is answered 304. What a part holds depends on the mirror alone:
ages are computed in the browser, against the server's clock.
"""

from typing import Any

from flask import Blueprint, Response, current_app, render_template

from web import databases, query_args
from web.cache import dependencies
from web.pages import delivery_graph, freshness, live_run, view
from web.pages.job_table import ClientState, Column
from web.responses import etag_response

room = Blueprint("live", __name__)


@room.get("/")
@dependencies.cached_view
def page() -> Response:
    """The page of a run, whole: what it says holds without any script."""
    asked = view.of_request()
    shown = {**_run(asked), **freshness.of_cluster(asked.cluster)}
    return etag_response(render_template("live/page.html", cluster=asked.cluster, **shown))


@room.get("/live/run")
@dependencies.cached_view
def run_part() -> Response:
    """The run's summary and its jobs."""
    return etag_response(render_template("live/_run.html", **_run(view.of_request())))


@room.get("/live/delivery")
@dependencies.cached_view
def delivery() -> Response:
    """The file delivery of a run as its graphs need it, JSON; `whole` to look closer."""
    asked = view.of_request()
    found = None if asked.run is None else databases.stale_ok_reader(asked.cluster).delivery(asked.run)
    columns = delivery_graph.to_json(
        found,
        asked.time_of_delivery,
        current_app.config["LATE_FILE_AFTER_S"],
        is_whole=query_args.text("whole") is not None,
    )
    return etag_response(columns, "application/json")


def _run(asked: view.View) -> dict[str, Any]:
    reader = databases.stale_ok_reader(asked.cluster)
    return {"live": live_run.read(reader, asked), "Column": Column, "ClientState": ClientState}
