"""`/report/efficiency`: the clients of a range of runs by month, release or run key, as a page and as CSV."""

from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, url_for
from werkzeug.exceptions import BadRequest

from storage.efficiency_reader import MAX_RUNS, Grouping
from web import databases, query_args
from web.cache import dependencies
from web.limits import run_range
from web.pages import freshness, run_filter
from web.pages.reports import efficiency, page
from web.pages.reports.document import Report
from web.pages.reports.efficiency import EfficiencyData
from web.pages.run_filter import RunFilterParams
from web.responses import etag_response

bp = Blueprint("efficiency_report", __name__, url_prefix="/report")


@bp.get("/efficiency")
@run_range
@dependencies.cached_view
def show() -> Response:
    """The report on the runs that match the filter."""
    params, grouping = run_filter.request_params(), _grouping()
    data = _read(params, grouping)
    query = _query(params, grouping)
    context: dict[str, Any] = {
        "cluster": params.cluster,
        "params": params,
        "grouping": grouping,
        "groupings": list(Grouping),
        "found": data.found,
        "max_runs": MAX_RUNS,
        "report": _report(params, grouping, data),
        "csv_url": lambda key: url_for("efficiency_report.csv_file", table=key, **query),
        **freshness.template_context(params.cluster),
    }
    return etag_response(page.render("reports/efficiency.html", **context))


@bp.get("/efficiency.csv")
@run_range
def csv_file() -> Response:
    """The table that `table` names as CSV. Raises NotFound and DatabaseUnavailable."""
    params, grouping = run_filter.request_params(), _grouping()
    report = _report(params, grouping, _read(params, grouping))
    return page.csv_download(report, params.cluster, f"{params.cluster}_efficiency")


def _grouping() -> Grouping:
    text = query_args.text("group")
    try:
        return Grouping(text or Grouping.MONTH)
    except ValueError:
        raise BadRequest(f"group must be one of {', '.join(Grouping)}") from None


def _query(params: RunFilterParams, grouping: Grouping) -> dict[str, Any]:
    return {"db": params.cluster, **params.texts, "group": grouping}


def _report(params: RunFilterParams, grouping: Grouping, data: EfficiencyData) -> Report:
    url = url_for("efficiency_report.show", **_query(params, grouping))
    return efficiency.build(params.cluster, data, url)


def _read(params: RunFilterParams, grouping: Grouping) -> EfficiencyData:
    reader = databases.stale_ok_reader(params.cluster)
    found = reader.efficiency.counted_runs(params.filter)
    counted = replace(params.filter, first=found.first)
    by_release = reader.efficiency.of_clients(counted, Grouping.RELEASE)
    by_period = (
        by_release if grouping is Grouping.RELEASE else reader.efficiency.of_clients(counted, grouping)
    )
    return EfficiencyData(found, grouping, by_period, by_release)
