"""`/cr/`: DQM² commands, given by experts on the page and by scripts at `/cr/exe?what=…`."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from uuid import UUID

from flask import Blueprint, Response, render_template, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response as BaseResponse

from dqm2.command_responses import (
    Acknowledged,
    ClientList,
    CmsswInfo,
    CommandResponse,
    DaemonLogs,
    MachineGroups,
    PackageVersion,
    PackageVersions,
    RunKeyList,
    SimulatorConfiguration,
    SimulatorRuns,
)
from dqm2.commands import COMMANDS
from dqm2.sync_messages import ClusterStatus
from dqmsquare_cfg import Cluster
from storage.audit_log import Outcome
from web.action_text import UNKNOWN_COMMAND
from web.control_room import audit, cluster_state, command_validation, csrf, guards, login
from web.control_room.command_execution import commands_by_outcome
from web.control_room.command_result import CommandResult
from web.control_room.command_validation import CommandRejected, ValidatedCommand
from web.control_room.services import services
from web.control_room.sessions import Expert
from web.limits import RequestKind, limited_as
from web.responses import FRAGMENT_HEADER, etag_response

log = logging.getLogger(__name__)

bp = Blueprint("control_room", __name__)
guards.protect(bp)

# Order on the page: the cluster that is used more, and with less risk, comes first.
_CLUSTERS = (Cluster.PLAYBACK, Cluster.PRODUCTION)
_IDEMPOTENCY_HEADER = "Idempotency-Key"
# The page asks before it repeats a change within this time; its second request has this header.
_REPEAT_HEADER = "Repeat-Command"
_REPEAT_PERIOD = timedelta(minutes=1)
# Template of each kind of response; an Ok needs none.
_TEMPLATES: Mapping[type[CommandResponse], str] = {
    MachineGroups: "machines",
    ClusterStatus: "cluster_status",
    PackageVersions: "versions",
    CmsswInfo: "cmssw",
    SimulatorConfiguration: "simulator",
    SimulatorRuns: "simulator_runs",
    ClientList: "clients",
    DaemonLogs: "logs",
    RunKeyList: "run_keys",
}
# An unexpected response is shown up to this length, which is enough to see what it is.
_MAX_RAW_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class VersionTable:
    """Machines by version: all versions, the most frequent first, and the machines by group."""

    versions: Sequence[str]
    groups: Mapping[str, Sequence[PackageVersion]]

    @classmethod
    def of_response(cls, response: PackageVersions) -> "VersionTable":
        """A response as a table."""
        found = [row.version for rows in response.groups.values() for row in rows if row.version is not None]
        by_frequency = sorted(set(found), key=lambda version: (-found.count(version), version))
        return cls(by_frequency, response.groups)


@bp.get("/")
def page() -> BaseResponse:
    """Show the Control Room's page."""
    expert = guards.current_expert()
    if expert is None:
        return login.redirect_to_login()
    settings = services().settings
    return Response(
        render_template(
            "control_room/page.html",
            cluster=None,
            expert=expert,
            machines={cluster: settings.machines(cluster) for cluster in _CLUSTERS},
            states=cluster_state.read_all(),
            simulator_host=command_validation.simulator_host(settings),
            gateway=settings.server_fff_machine,
            **audit.recent_activity(),
        )
    )


@bp.route("/exe", methods=["GET", "POST"])
@limited_as(RequestKind.COMMAND)
def execute() -> BaseResponse:
    """Execute one command. Scripts get DQM²'s response, the page gets an HTML fragment."""
    expert = guards.require_expert()
    try:
        command = _validate(expert)
        if question := _repetition_question(command, expert):
            return question
        result = services().executor.execute(command, expert, _idempotency_key())
    except CommandRejected as rejected:
        _record_rejection(expert, rejected)
        return _rejection_response(rejected)
    if not _wants_fragment():
        return _script_response(result)
    return _result_fragment(result, _simulator_configuration(result, expert))


@bp.get("/queue")
def queue() -> BaseResponse:
    """Show the queue and the actions of the last hour, as a fragment that the page polls."""
    guards.require_expert()
    return etag_response(render_template("control_room/_queue.html", **audit.recent_activity()))


def _validate(expert: Expert) -> ValidatedCommand:
    csrf.reject_cross_site()
    if request.method == "POST":
        csrf.require_token(expert)
    return command_validation.validate(request, services().settings)


def _repetition_question(command: ValidatedCommand, expert: Expert) -> Response | None:
    """The question whether to repeat a change that has just been sent, if the page has to ask it."""
    if not command.spec.is_change or not _wants_fragment() or _REPEAT_HEADER in request.headers:
        return None
    action = services().executor.action(command, expert)
    previous = services().audit.latest_repetition(action, _REPEAT_PERIOD)
    if previous is None:
        return None
    services().audit.record(action, Outcome.REFUSED, f"{previous.action.username} has just requested this.")
    return Response(render_template("control_room/_repeat.html", command=command, previous=previous))


def _idempotency_key() -> UUID | None:
    given = request.headers.get(_IDEMPOTENCY_HEADER)
    if given is None:
        return None
    try:
        return UUID(given)
    except ValueError:
        raise CommandRejected(f"{_IDEMPOTENCY_HEADER} must be a UUID.") from None


def _record_rejection(expert: Expert, rejected: CommandRejected) -> None:
    if rejected.command is None:
        action = expert.action(UNKNOWN_COMMAND)
    else:
        action = services().executor.action(rejected.command, expert)
    services().audit.record(action, Outcome.REFUSED, rejected.message)
    commands_by_outcome.labels(action.command, Outcome.REFUSED).inc()


def _rejection_response(rejected: CommandRejected) -> Response:
    if _wants_fragment():
        return Response(render_template("control_room/_rejected.html", message=rejected.message))
    response = Response(rejected.message, rejected.status, mimetype="text/plain")
    if rejected.status == HTTPStatus.METHOD_NOT_ALLOWED:
        response.allow.add("POST")
    return response


def _simulator_configuration(result: CommandResult, expert: Expert) -> SimulatorConfiguration | None:
    """Configuration of the simulator whose runs were read, from which the form for a run is filled in."""
    if not isinstance(result.response, SimulatorRuns) or not result.response.runs:
        return None
    command = ValidatedCommand(
        COMMANDS["get_simulator_config"], result.command.parameters, result.command.cluster
    )
    try:
        response = services().executor.execute(command, expert, None).response
    except SQLAlchemyError as error:
        # It is not sent if it can't be recorded. The runs are shown all the same.
        log.warning("audit_write_failed command=%s reason=%s", command.spec.what, type(error).__name__)
        return None
    return response if isinstance(response, SimulatorConfiguration) else None


def _result_fragment(result: CommandResult, configuration: SimulatorConfiguration | None) -> Response:
    """A result as HTML. Its status is always 200, because proxies may replace error pages."""
    response = result.response
    name = None if response is None else _TEMPLATES.get(type(response))
    return Response(
        render_template(
            "control_room/_result.html",
            result=result,
            command=result.command,
            template=None if name is None else f"control_room/results/{name}.html",
            response=response,
            text=result.text[:_MAX_RAW_CHARACTERS],
            is_truncated=len(result.text) > _MAX_RAW_CHARACTERS,
            configuration=configuration,
            table=VersionTable.of_response(response) if isinstance(response, PackageVersions) else None,
            release=services().settings.tested_fff_release,
        )
    )


def _script_response(result: CommandResult) -> Response:
    """DQM²'s response as text or JSON, never as HTML; the message if there is no response."""
    is_json = result.response is not None and not isinstance(result.response, CmsswInfo | Acknowledged)
    response = Response(
        result.text or result.message,
        result.status,
        mimetype="application/json" if is_json else "text/plain",
    )
    response.headers["Command-Outcome"] = result.outcome
    return response


def _wants_fragment() -> bool:
    return FRAGMENT_HEADER in request.headers
