"""`/cr/report/shift`: the shift report for signed-in experts, with the names of those who sent commands."""

from flask import Blueprint, Response
from werkzeug.wrappers import Response as BaseResponse

from web import query_args
from web.control_room import guards, login
from web.limits import run_range
from web.pages import freshness
from web.pages.reports import page, shift_page

bp = Blueprint("named_shift_report", __name__)
guards.protect(bp)


@bp.get("/report/shift")
@run_range
def show() -> BaseResponse:
    """Show the report, or redirect to the login page."""
    if guards.current_expert() is None:
        return login.redirect_to_login("shift")
    cluster = query_args.page_cluster()
    context = shift_page.render_context(cluster, shift_page.request_period(), with_names=True)
    context |= freshness.template_context(cluster)
    return Response(page.render("reports/shift.html", **context))
