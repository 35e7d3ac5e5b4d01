"""`/report/shift`: the report of a shift, or of another period of up to a week, as a page and as CSV."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, url_for

from dqmsquare_cfg import Cluster
from web import query_args
from web.cache import dependencies
from web.limits import run_range
from web.pages import freshness
from web.pages.reports import page, shift, shift_data, shift_period
from web.pages.reports.document import Report
from web.pages.reports.shift_period import ShiftPeriod
from web.responses import etag_response

bp = Blueprint("shift_report", __name__, url_prefix="/report")


@bp.get("/shift")
@run_range
@dependencies.cached_view
def show() -> Response:
    """The report of the requested period, by default of the current shift."""
    cluster = query_args.page_cluster()
    period = request_period()
    context = {**render_context(cluster, period, with_names=False), **freshness.template_context(cluster)}
    return etag_response(page.render("reports/shift.html", **context))


@bp.get("/shift.csv")
@run_range
def csv_file() -> Response:
    """The table that `table` names as CSV. Raises NotFound and DatabaseUnavailable."""
    cluster = query_args.page_cluster()
    report = _report(cluster, request_period(), "shift_report.show", with_names=False)
    return page.csv_download(report, cluster, f"{cluster}_shift")


def request_period() -> ShiftPeriod:
    """The period of the current request, by default the current shift. Raises BadRequest."""
    period = shift_period.request_period(datetime.now(UTC))
    if query_args.text("from") is None and query_args.text("to") is None:
        dependencies.expire_at(period.until)
    return period


def render_context(cluster: Cluster, period: ShiftPeriod, *, with_names: bool) -> dict[str, Any]:
    """The variables of the page; `with_names`: of that which names those who sent commands."""
    endpoint = "named_shift_report.show" if with_names else "shift_report.show"
    now = datetime.now(UTC)
    current = shift_period.shift_at(now)
    dependencies.expire_at(current.until)
    following = shift_period.shift_after(period)

    def link(other: ShiftPeriod) -> str:
        return url_for(endpoint, db=cluster, **other.query)

    presets = {"Current shift": current, "Last shift": shift_period.shift_before(current)}
    return {
        "cluster": cluster,
        "period": period,
        "report": _report(cluster, period, endpoint, with_names=with_names),
        "csv_url": lambda key: url_for("shift_report.csv_file", db=cluster, table=key, **period.query),
        "presets": {name: (link(preset), preset == period) for name, preset in presets.items()},
        "earlier_url": link(shift_period.shift_before(period)),
        "later_url": link(following) if following.since <= now else None,
        "is_incomplete": period.until > now,
        "with_names": with_names,
    }


def _report(cluster: Cluster, period: ShiftPeriod, endpoint: str, *, with_names: bool) -> Report:
    now = datetime.now(UTC)
    if period.until > now:
        # The shift continues by the clock, whether or not anything is reported.
        dependencies.expire_at(period.until)
    data = shift_data.read(cluster, period, now)
    url = url_for(endpoint, db=cluster, **period.query)
    return shift.build(cluster, period, data, url, with_names=with_names)
