"""The live page `/`: a run and its jobs, kept up to date part by part.

A part is a template of `templates/live/`. The page is made of them, and a script asks for them again as long
as the page is open; one that has not changed is answered 304. What a part holds depends on the mirror alone:
ages are computed in the browser, against the server's clock.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, current_app, render_template

from mirror.records import Cluster
from web import clusters, delivery_graph, live_run, queries, view
from web.answers import conditional
from web.job_table import ClientState, Column
from web.staleness import broken_links, is_old

room = Blueprint("live", __name__)


@room.get("/")
def page() -> Response:
    """The page of a run, whole: what it says holds without any script."""
    asked = view.of_request()
    return conditional(
        render_template("live/page.html", cluster=asked.cluster, **_run(asked), **_freshness(asked.cluster))
    )


@room.get("/live/run")
def run_part() -> Response:
    """The run's summary and its jobs."""
    return conditional(render_template("live/_run.html", **_run(view.of_request())))


@room.get("/live/freshness")
def freshness_part() -> Response:
    """How fresh the mirror is, with a banner for each link that is broken."""
    cluster = queries.cluster(default=Cluster.PRODUCTION)
    return conditional(render_template("live/_freshness.html", cluster=cluster, **_freshness(cluster)))


@room.get("/live/delivery")
def delivery() -> Response:
    """The file delivery of a run as its graphs need it, JSON."""
    cluster = queries.cluster(default=Cluster.PRODUCTION)
    run = queries.integer("run", "run must be an integer")
    found = None if run is None else clusters.reader(cluster).delivery(run)
    return conditional(delivery_graph.to_json(found), "application/json")


def _run(asked: view.View) -> dict[str, Any]:
    reader = clusters.reader(asked.cluster)
    return {"live": live_run.read(reader, asked), "Column": Column, "ClientState": ClientState}


def _freshness(cluster: Cluster) -> dict[str, Any]:
    freshness = clusters.reader(cluster).freshness()
    now = datetime.now(UTC)
    warn_after = timedelta(seconds=current_app.config["FRESHNESS_WARN_S"])
    return {
        "freshness": freshness,
        "broken": broken_links(freshness, now, warn_after),
        "is_old": lambda link: is_old(link, now - warn_after),
    }
