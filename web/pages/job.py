"""The page of a job, `/job/<id>`: its details, memory and events, and its log."""

from typing import Any
from uuid import UUID

import orjson
from flask import Blueprint, Response, render_template
from werkzeug.exceptions import NotFound

from dqm2 import log_messages
from dqmsquare_cfg import Cluster
from storage.mutes import mute_of_job
from storage.read_models import JobDetails
from web import databases, query_args
from web.cache import dependencies
from web.errors import LOG_DAMAGED, LOG_DELETED
from web.pages import active_mutes, freshness, job_history, job_log, log_search
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
    """Memory over time and events by lumisection as JSON; the columns of a graph are of equal length.

    The `previous_…` columns are those of the client's job in `previous_run`, as long after its start.
    """
    cluster = query_args.page_cluster()
    details = _details(cluster, job)
    previous = _previous(cluster, details)
    memory, events = details.series.memory, details.series.events
    columns = {
        "memory": {
            "at_s": memory.at_s,
            "rss_kb": memory.rss_kb,
            "size_kb": memory.size_kb,
            "previous_rss_kb": job_history.previous_memory(details, previous),
        },
        "events": {
            "lumisections": events.lumisections,
            "events": events.events,
            "previous_events": job_history.previous_events(details, previous),
        },
        "previous_run": None if previous is None else previous.job.run,
    }
    return etag_response(orjson.dumps(columns), "application/json")


@bp.get("/<uuid:job>/log.txt")
def log_text(job: UUID) -> Response:
    """The log as a text file to download. Raises NotFound."""
    details = _details(query_args.page_cluster(), job)
    if not details.has_log:
        raise NotFound(LOG_DAMAGED if details.is_log_damaged else LOG_DELETED)
    response = etag_response(log_messages.full_text(details.log), "text/plain")
    name = f"run{details.job.run}_{details.job.name}.log"
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response


def _details(cluster: Cluster, job: UUID) -> JobDetails:
    details = databases.stale_ok_reader(cluster).jobs.details(job)
    if details is None:
        raise NotFound(f"The {cluster} cluster has no job with this id.")
    return details


def _previous(cluster: Cluster, details: JobDetails) -> JobDetails | None:
    """The newest job of the client in an earlier run with the same run key."""
    reader, job = databases.stale_ok_reader(cluster), details.job
    run = reader.runs.get(job.run)
    if run is None or run.run_key is None:
        return None
    previous = reader.jobs.previous(run.run, run.run_key, job.client)
    return None if previous is None else reader.jobs.details(previous)


def _render(template: str, cluster: Cluster, details: JobDetails, **context: Any) -> str:
    job, reader = details.job, databases.stale_ok_reader(cluster)
    run = reader.runs.get(job.run)
    if run is None:
        raise NotFound(f"The {cluster} cluster has no run {job.run} any more.")
    usual = reader.jobs.usual_errors(run.run, run.run_key, job.client) if run.run_key else None
    log = job_log.view(details, usual or ())
    return render_template(
        template,
        cluster=cluster,
        details=details,
        job=job,
        run=run,
        others=[other for other in reversed(run.jobs) if other.client == job.client and other.id != job.id],
        history=job_history.client_history(reader, run, job.client),
        mute=mute_of_job(job, active_mutes.of_run(reader, run)),
        crash_group=reader.crashes.occurrences_in(job.run).get(job.crash_group) if job.crash_group else None,
        log=log,
        same_line=log_search.line_of_reason([line.text for line in log.lines], log.reason),
        **context,
    )
