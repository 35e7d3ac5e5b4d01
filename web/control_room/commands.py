"""`/cr/`: experts run commands of DQM² by its page, scripts by `/cr/exe?what=…`."""

from http import HTTPStatus
from uuid import UUID

from flask import Blueprint, Response, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from dqmsquare_cfg import Cluster
from storage.audit_log import AuditedAction, Outcome
from web.control_room import (
    audit,
    command_validation,
    csrf,
    login,
    redirect_targets,
    refusals,
    reports,
    visitor,
)
from web.control_room.command_execution import Report, commands_by_outcome
from web.control_room.command_validation import Refusal
from web.control_room.services import desk
from web.control_room.sessions import Expert
from web.responses import etag_response

room = Blueprint("control_room", __name__)
refusals.guard(room)

# In the order in which the page has them: what is done most, and harms least, first.
_CLUSTERS = (Cluster.PLAYBACK, Cluster.PRODUCTION)
# By this header the page's own script asks for an answer as a part of the page.
_FOR_PAGE = "HX-Request"
_ONCE = "Idempotency-Key"


@room.get("/")
def page() -> BaseResponse:
    """The page."""
    expert = visitor.expert()
    if expert is None:
        return login.refer(redirect_targets.goal())
    settings = desk().settings
    return Response(
        render_template(
            "control_room/page.html",
            cluster=None,
            expert=expert,
            machines={cluster: settings.machines(cluster) for cluster in _CLUSTERS},
            simulator_host=command_validation.simulator_host(settings),
            gateway=settings.server_fff_machine,
            **audit.of_last_hour(),
        )
    )


@room.route("/exe", methods=["GET", "POST"])
def execute() -> BaseResponse:
    """Carries out one command: for the page as a part of it, for a script as DQM² answered."""
    expert = visitor.signed_in()
    try:
        report = _carried_out(expert)
    except Refusal as refusal:
        _note_refusal(expert, refusal)
        return _refused(refusal)
    return reports.for_page(report) if _is_for_page() else reports.for_script(report)


@room.get("/line")
def line() -> BaseResponse:
    """Who waits for what, and what was done of late: a part of the page, asked for again and again."""
    visitor.signed_in()
    return etag_response(render_template("control_room/_line.html", **audit.of_last_hour()))


def _carried_out(expert: Expert) -> Report:
    csrf.refuse_from_elsewhere(request)
    if request.method == "POST":
        csrf.require_token(request, expert)
    order = command_validation.order_of(request, desk().settings)
    return desk().relay.carry_out(order, expert, _once())


def _once() -> UUID | None:
    """What marks this press of a button, if anything does."""
    given = request.headers.get(_ONCE)
    if given is None:
        return None
    try:
        return UUID(given)
    except ValueError:
        raise Refusal(f"{_ONCE} must be a UUID.") from None


def _note_refusal(expert: Expert, refusal: Refusal) -> None:
    if refusal.order is None:
        deed = AuditedAction(command_validation.UNKNOWN, username=expert.person, cmsweb_login=expert.login)
    else:
        deed = desk().relay.deed(refusal.order, expert)
    desk().audit.record(deed, Outcome.REFUSED, refusal.sentence)
    commands_by_outcome.labels(deed.command, Outcome.REFUSED).inc()


def _refused(refusal: Refusal) -> Response:
    if _is_for_page():
        return Response(render_template("control_room/_refusal.html", refusal=refusal))
    response = Response(refusal.sentence, refusal.status, mimetype="text/plain")
    if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
        response.allow.add("POST")
    return response


def _is_for_page() -> bool:
    return _FOR_PAGE in request.headers
