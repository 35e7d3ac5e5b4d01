"""A job's own page `/job/<id>`: what is known of it, its memory and events, its log."""

from typing import Any
from uuid import UUID

import orjson
from flask import Blueprint, Response, render_template
from werkzeug.exceptions import NotFound

from dqmsquare_cfg import Cluster
from storage.read_models import JobDetails
from web import databases, query_args
from web.cache import dependencies
from web.log_text import whole
from web.pages import freshness
from web.pages.log_lines import Severity, first_lines, log_lines
from web.responses import etag_response

room = Blueprint("job", __name__, url_prefix="/job")


@room.get("/<uuid:job>")
@dependencies.cached_view
def page(job: UUID) -> Response:
    """The page of a job, whole."""
    cluster = query_args.shown_cluster()
    fresh = freshness.of_cluster(cluster)
    return etag_response(_rendered("job/page.html", cluster, _details(cluster, job), **fresh))


@room.get("/<uuid:job>/part")
@dependencies.cached_view
def part(job: UUID) -> Response:
    """What of the page changes while the job runs."""
    cluster = query_args.shown_cluster()
    return etag_response(_rendered("job/_fragment.html", cluster, _details(cluster, job)))


@room.get("/<uuid:job>/series")
@dependencies.cached_view
def series(job: UUID) -> Response:
    """Memory over time and events by lumisection, JSON: columns of equal length for each graph."""
    details = _details(query_args.shown_cluster(), job)
    memory, events = details.memory, details.events
    columns = {
        "memory": {"at_s": memory.at_s, "rss_kb": memory.rss_kb, "size_kb": memory.size_kb},
        "events": {"lumisections": events.lumisections, "events": events.events},
    }
    return etag_response(orjson.dumps(columns), "application/json")


@room.get("/<uuid:job>/log.txt")
def log_text(job: UUID) -> Response:
    """The log as text, to be kept."""
    details = _details(query_args.shown_cluster(), job)
    response = etag_response(whole(details.log), "text/plain")
    name = f"run{details.job.run}_{details.job.name}.log"
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response


def _details(cluster: Cluster, job: UUID) -> JobDetails:
    details = databases.stale_ok_reader(cluster).job_details(job)
    if details is None:
        raise NotFound(f"There is no job of this id in the {cluster} cluster.")
    return details


def _rendered(template: str, cluster: Cluster, details: JobDetails, **more: Any) -> str:
    lines = log_lines(details.log)
    return render_template(
        template,
        cluster=cluster,
        details=details,
        job=details.job,
        lines=lines,
        warnings=first_lines(lines, Severity.WARNING),
        errors=first_lines(lines, Severity.ERROR),
        **more,
    )
