"""The page of a job, `/job/<id>`: its details, memory and events, and its log."""

from typing import Any
from uuid import UUID

import orjson
from flask import Blueprint, Response, render_template
from werkzeug.exceptions import NotFound

from dqm2 import log_messages
from dqm2.log_formats import Severity
from dqmsquare_cfg import Cluster
from storage.read_models import JobDetails
from web import databases, query_args
from web.cache import dependencies
from web.pages import freshness
from web.responses import etag_response

bp = Blueprint("job", __name__, url_prefix="/job")


@bp.get("/<uuid:job>")
@dependencies.cached_view
def page(job: UUID) -> Response:
    """The complete page."""
    cluster = query_args.page_cluster()
    context = freshness.template_context(cluster)
    return etag_response(_render("job/page.html", cluster, _details(cluster, job), **context))


@bp.get("/<uuid:job>/fragment")
@dependencies.cached_view
def fragment(job: UUID) -> Response:
    """The content of the page, which changes while the job runs."""
    cluster = query_args.page_cluster()
    return etag_response(_render("job/_fragment.html", cluster, _details(cluster, job)))


@bp.get("/<uuid:job>/series")
@dependencies.cached_view
def series(job: UUID) -> Response:
    """Memory over time and events by lumisection as JSON; the columns of a graph are of equal length."""
    details = _details(query_args.page_cluster(), job)
    memory, events = details.memory, details.events
    columns = {
        "memory": {"at_s": memory.at_s, "rss_kb": memory.rss_kb, "size_kb": memory.size_kb},
        "events": {"lumisections": events.lumisections, "events": events.events},
    }
    return etag_response(orjson.dumps(columns), "application/json")


@bp.get("/<uuid:job>/log.txt")
def log_text(job: UUID) -> Response:
    """The log as a text file to download."""
    details = _details(query_args.page_cluster(), job)
    response = etag_response(log_messages.full_text(details.log), "text/plain")
    name = f"run{details.job.run}_{details.job.name}.log"
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response


def _details(cluster: Cluster, job: UUID) -> JobDetails:
    details = databases.stale_ok_reader(cluster).job_details(job)
    if details is None:
        raise NotFound(f"The {cluster} cluster has no job with this id.")
    return details


def _render(template: str, cluster: Cluster, details: JobDetails, **context: Any) -> str:
    lines = log_messages.log_lines(details.log, log_messages.find_messages(details.log))
    return render_template(
        template,
        cluster=cluster,
        details=details,
        job=details.job,
        lines=lines,
        warnings=log_messages.first_lines(lines, Severity.WARNING),
        errors=log_messages.first_lines(lines, Severity.ERROR),
        **context,
    )
