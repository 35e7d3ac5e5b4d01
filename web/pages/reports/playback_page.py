"""`/report/playback`: a run of the playback cluster against a reference, as a page and as CSV."""

from typing import Any

from flask import Blueprint, Response, url_for
from werkzeug.exceptions import BadRequest, NotFound

from dqmsquare_cfg import Cluster
from storage.read_models import Run
from storage.reader import MirrorReader
from web import databases, query_args
from web.cache import dependencies
from web.limits import run_range
from web.pages import freshness
from web.pages.reports import page, playback
from web.pages.reports.document import Report
from web.pages.reports.playback import TestedRun
from web.responses import etag_response

bp = Blueprint("playback_report", __name__, url_prefix="/report")

_CLUSTER = Cluster.PLAYBACK


@bp.get("/playback")
@run_range
@dependencies.cached_view
def show() -> Response:
    """The report on the requested run, by default the newest, against the requested or preset reference."""
    tested, reference = _request_runs()
    context: dict[str, Any] = {
        "cluster": _CLUSTER,
        "report": _report(tested, reference),
        "csv_url": lambda key: url_for("playback_report.csv_file", table=key, **_query(tested, reference)),
        "tested": tested,
        "reference": reference,
        **freshness.template_context(_CLUSTER),
    }
    return etag_response(page.render("reports/playback.html", **context))


@bp.get("/playback.csv")
@run_range
def csv_file() -> Response:
    """The table that `table` names as CSV. Raises NotFound and DatabaseUnavailable."""
    tested, reference = _request_runs()
    return page.csv_download(_report(tested, reference), _CLUSTER, f"playback_{tested.run.run}")


def _report(tested: TestedRun, reference: TestedRun | None) -> Report:
    url = url_for("playback_report.show", **_query(tested, reference))
    return playback.build(tested, reference, freshness.read_outages(_CLUSTER), url)


def _query(tested: TestedRun, reference: TestedRun | None) -> dict[str, Any]:
    query: dict[str, Any] = {"run": tested.run.run}
    return query if reference is None else {**query, "reference": reference.run.run}


def _request_runs() -> tuple[TestedRun, TestedRun | None]:
    """The run and the reference of the current request. Raises BadRequest, NotFound."""
    reader = databases.stale_ok_reader(_CLUSTER)
    run = query_args.page_run()
    wanted = query_args.integer("reference", "reference must be a run")
    if run is None:
        run = reader.runs.span().highest
    tested = None if run is None else reader.runs.get(run)
    if tested is None:
        raise NotFound("The playback cluster has no such run.")
    if wanted == tested.run:
        raise BadRequest("reference must be another run")
    preset = reader.playback_comparison.reference_run(tested.run) if wanted is None else wanted
    reference = None if preset is None else reader.runs.get(preset)
    if reference is None:
        if wanted is not None:
            raise NotFound("The reference run is not in the playback cluster.")
        return _read(reader, tested, None), None
    return _read(reader, tested, reference), _read(reader, reference, tested)


def _read(reader: MirrorReader, run: Run, other: Run | None) -> TestedRun:
    clients = (
        reader.playback_comparison.client_performance(run.run)
        if other is None
        else reader.playback_comparison.client_performance(run.run, other.run)
    )
    return TestedRun(run, reader.deliveries.playback(run.run), clients)
