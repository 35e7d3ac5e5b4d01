"""The timeline `/timeline/`: runs by clients, newest first; a cell is a client's worst state in a run.

The first rows are part of the page and are kept up to date; more are loaded as the reader scrolls.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from flask import Blueprint, Response, render_template
from markupsafe import Markup
from werkzeug.exceptions import BadRequest, NotFound

from dqmsquare_cfg import Cluster
from storage.read_models import FoundSpan, Job, Run, RunSummary, has_another_release
from storage.reader import MirrorReader
from storage.run_queries import RunFilter
from web import databases, query_args, responses
from web.cache import dependencies
from web.limits import run_range
from web.pages import freshness, page_urls, run_filter
from web.pages.run_filter import RunFilterParams, other_cluster_with
from web.pages.timeline_cells import CellWriter
from web.responses import etag_response
from web.times import iso

bp = Blueprint("timeline", __name__, url_prefix="/timeline")

_FIRST_ROWS = 40
_MORE_ROWS = 150
_CSV_HEADER = (
    "run",
    "run_key",
    "cmssw_version",
    "client",
    "state",
    "machine",
    "first_report",
    "last_report",
    "lumisection",
    "events_total",
    "exit_code",
)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, the address of its page, and the cells of the clients.

    `is_new_release`: its release is not that of the run below it.
    """

    run: RunSummary
    url: str
    cells: Markup
    is_new_release: bool


@dataclass(frozen=True, slots=True)
class TimelineRows:
    """Rows of the table, whose columns are `clients`: the runs above `above`.

    Those of the page `below` a run, if that is given. `next_below` is `None` if there are no rows below.
    `found` is about all runs that match the filter.
    """

    params: RunFilterParams
    found: FoundSpan
    above: int
    below: int | None
    clients: tuple[str, ...]
    rows: Sequence[RunRow]
    next_below: int | None

    @property
    def columns_hash(self) -> str:
        """Hash of the columns, by which the next request for rows notices that they have changed."""
        return blake2b("\0".join(self.clients).encode(), digest_size=6).hexdigest()


@bp.get("/")
@dependencies.cached_view
def page() -> Response:
    """The page with the first rows."""
    params = run_filter.request_params()
    timeline = _rows(params, _FIRST_ROWS)
    context = {
        **_template_context(timeline),
        **freshness.template_context(params.cluster),
        "suggestions": run_filter.suggestions(params.cluster),
    }
    return etag_response(render_template("timeline/page.html", **context))


@bp.get("/newest")
@dependencies.cached_view
def newest_fragment() -> Response:
    """The first rows of a page, i.e. the runs above the run `above`, with those that were added."""
    above = query_args.integer("above", run_filter.INTEGER_ERROR)
    newest = _rows(run_filter.request_params(), _MORE_ROWS, above=above)
    if _needs_reload(newest) or newest.next_below is not None:
        return _reload()
    return etag_response(render_template("timeline/_newest.html", **_template_context(newest)))


@bp.get("/rows")
@dependencies.cached_view
def rows_fragment() -> Response:
    """More rows, below those of the page."""
    more = _rows(run_filter.request_params(), _MORE_ROWS)
    if _needs_reload(more):
        return _reload()
    return etag_response(render_template("timeline/_more.html", cluster=more.params.cluster, timeline=more))


@bp.get("/cell")
@dependencies.cached_view
def cell_fragment() -> Response:
    """The jobs of a client in a run. Raises NotFound if it has none."""
    cluster = query_args.page_cluster()
    number, client = query_args.page_run(), query_args.text("client")
    if number is None or client is None:
        raise BadRequest("run and client must be given")
    run = databases.stale_ok_reader(cluster).runs.get(number)
    jobs = [] if run is None else [job for job in run.jobs if job.name == client]
    if not jobs:
        raise NotFound(f"{client} has no job in run {number}.")
    context = {"client": client, "run": number, "jobs": jobs[::-1]}
    return etag_response(render_template("timeline/_cell.html", cluster=cluster, **context))


@bp.get("/jobs.csv")
@run_range
def csv_file() -> Response:
    """The jobs of all runs that match the filter, a line each."""
    params = run_filter.request_params()
    runs = databases.stale_ok_reader(params.cluster).runs.iter_found(params.filter)
    clients = params.filter.clients
    lines = (
        _csv_line(run, job) for run in runs for job in run.jobs if clients is None or job.name in clients
    )
    return responses.csv_download(f"{params.cluster}_jobs.csv", _CSV_HEADER, lines)


def _template_context(timeline: TimelineRows) -> dict[str, Any]:
    params = timeline.params
    return {
        "cluster": params.cluster,
        "params": params,
        "timeline": timeline,
        "run_count": timeline.found.count,
        "other_cluster": None if timeline.rows else other_cluster_with(params.cluster, params.single_run),
    }


def _needs_reload(rows: TimelineRows) -> bool:
    """Whether the columns are not those of the page any more, since a client was added."""
    return query_args.text("columns") != rows.columns_hash


def _reload() -> Response:
    return Response("", headers={"HX-Refresh": "true"})


def _rows(params: RunFilterParams, limit: int, *, above: int | None = None) -> TimelineRows:
    reader = databases.stale_ok_reader(params.cluster)
    wanted = params.filter
    below = query_args.integer("below", run_filter.INTEGER_ERROR)
    # One more than is shown, to compare its release with that of the last row.
    runs = reader.run_summaries.find(
        wanted if above is None else replace(wanted, first=max(wanted.first, above)),
        below=below,
        limit=limit + 1,
    )
    shown = [run for run in runs[:limit] if above is None or run.run > above]
    next_below = shown[-1].run if len(runs) > limit else None
    if above is None:
        above = wanted.first - 1 if next_below is None else runs[-1].run
    found = reader.runs.found_span(wanted)
    clients = _columns(reader, wanted, found)
    return TimelineRows(
        params=params,
        found=found,
        above=above,
        below=below,
        clients=clients,
        rows=_run_rows(params.cluster, shown, runs, clients),
        next_below=next_below,
    )


def _columns(reader: MirrorReader, wanted: RunFilter, found: FoundSpan) -> tuple[str, ...]:
    """The clients that were asked for, else those of the range of runs that were found."""
    if wanted.clients is not None:
        return wanted.clients
    if found.lowest is None or found.highest is None:
        return ()
    return tuple(reader.runs.clients(found.lowest, found.highest))


def _run_rows(
    cluster: Cluster, shown: Sequence[RunSummary], runs: Sequence[RunSummary], clients: Sequence[str]
) -> list[RunRow]:
    """The rows of the runs that are shown; `runs` begins with them, and may have the one below them."""
    run_url = page_urls.run_urls(cluster)
    cells = CellWriter(clients, page_urls.job_urls(cluster))

    def row(run: RunSummary, older: RunSummary) -> RunRow:
        url = run_url(run.run)
        return RunRow(run, url, cells.of_run(run, url), has_another_release(run, older))

    below = [*runs[1:], *runs[-1:]]
    return [row(run, older) for run, older in zip(shown, below, strict=False)]


def _csv_line(run: Run, job: Job) -> tuple[object, ...]:
    return (
        run.run,
        run.run_key,
        run.cmssw_version,
        job.name,
        job.state,
        job.machine,
        iso(job.started_at) if job.started_at else None,
        iso(job.updated_at),
        job.lumisection,
        job.events_total,
        job.exit_code,
    )
