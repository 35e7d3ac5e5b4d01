"""`/cr/audit/`: who did what, when, and how it ended; with filters, and as CSV."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, render_template
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as BaseResponse

from dqm2.commands import COMMANDS
from storage.audit_log import AuditedAction, AuditEntry, AuditFilter, Outcome
from storage.read_models import client_name
from web import query_args, responses
from web.control_room import guards, login
from web.control_room.command_validation import UNKNOWN_COMMAND
from web.control_room.guards import MUTE, PAGE, SIGN_IN, SIGN_OUT, SIGN_OUT_EVERYWHERE, UNMUTE
from web.control_room.services import services

bp = Blueprint("control_audit", __name__)
guards.protect(bp)

_RECENT = timedelta(hours=1)
_MAX_RECENT = 100
_PAGE_SIZE = 100
_MAX_CSV_ROWS = 100_000
# Actions that are not DQM² commands, in words.
_OTHER_ACTIONS = {
    MUTE: "mute a client or a crash",
    UNMUTE: "end a mute",
    SIGN_IN: "sign in",
    SIGN_OUT: "sign out",
    SIGN_OUT_EVERYWHERE: "sign out everywhere",
    PAGE: "open a page",
    UNKNOWN_COMMAND: "unknown command",
}
_CLIENT_FILE_SUFFIX = "_cfg.py"
_COLUMNS = (
    "received_at", "username", "cmsweb_login", "command", "cluster", "machine", "parameters", "sent_at",
    "ended_at", "seconds", "outcome", "message", "occurrences", "address",
)  # fmt: skip
_ADDRESS_MARK_BYTES = 4


@bp.get("/audit/")
def page() -> BaseResponse:
    """Show one page of the audit, newest entries first, with the filter of the query."""
    expert = guards.current_expert()
    if expert is None:
        return login.redirect_to_login("audit")
    filter_ = _filter()
    entries = services().audit.find(filter_, _PAGE_SIZE + 1)
    return Response(
        render_template(
            "control_room/audit.html",
            cluster=None,
            expert=expert,
            filter=filter_,
            entries=entries[:_PAGE_SIZE],
            has_more=len(entries) > _PAGE_SIZE,
            usernames=services().audit.usernames(),
            commands=[*COMMANDS, *_OTHER_ACTIONS],
            outcomes=list(Outcome),
        )
    )


@bp.get("/audit.csv")
def csv() -> BaseResponse:
    """Return the filtered entries as CSV, without pages."""
    guards.require_expert()
    entries = services().audit.find(_filter(), _MAX_CSV_ROWS)
    return responses.csv_download("control-room-audit.csv", _COLUMNS, map(_csv_row, entries))


def recent_activity() -> dict[str, Any]:
    """Return the queued commands and the actions of the last hour, for the page's fragment."""
    audit = services().audit
    recent = audit.recent(_RECENT, _MAX_RECENT + 1)
    entries = recent[:_MAX_RECENT]
    return {
        "queued": audit.in_progress(),
        "changes": [entry for entry in entries if entry.action.is_change],
        "reads": [entry for entry in entries if not entry.action.is_change],
        "has_earlier": len(recent) > _MAX_RECENT,
        "anonymous_refusals": audit.anonymous_refusals_within(_RECENT),
    }


def describe(action: AuditedAction) -> str:
    """Return in words what was requested, done or not: "switch csc off on dqmfu-c2b01-.."."""
    wording = _wording(action)
    return _describe_other(action) if wording is None else wording[0]


def describe_done(action: AuditedAction) -> str:
    """Return in words what was done: "csc switched off on dqmfu-c2b01-.."."""
    wording = _wording(action)
    return _describe_other(action) if wording is None else wording[1]


def _wording(action: AuditedAction) -> tuple[str, str] | None:
    """Return a change as a request and as done, `None` for other actions."""
    parameters = action.parameters or {}
    client = client_name(parameters.get("client", "").removesuffix(_CLIENT_FILE_SUFFIX)) or "a client"
    muted = f"the crash “{parameters['crash']}”" if "crash" in parameters else client
    run, lumisections = parameters.get("run_number", "a run"), parameters.get("number_of_ls", "all")
    match action.command:
        case "change_dqm_client":
            state = "off" if parameters.get("state") == "0" else "on"
            words = f"switch {client} {state}", f"{client} switched {state}"
        case "restart_hltd":
            words = "restart HLTD", "HLTD restarted"
        case "restart_fff":
            words = "restart DQM²", "DQM² restarted"
        case "start_playback_run":
            run_key = f" as {parameters['run_key']}" if "run_key" in parameters else ""
            details = f"with {lumisections} LS{run_key}"
            words = f"start {run} {details}", f"{run} started {details}"
        case "copy_production_runs":
            words = (
                f"copy {lumisections} LS of {run} to playback",
                f"{lumisections} LS of {run} copied to playback",
            )
        case _ if action.command == MUTE:
            details = f"for {parameters.get('hours')} h: {parameters.get('reason')}"
            words = f"mute {muted} {details}", f"{muted} muted {details}"
        case _ if action.command == UNMUTE:
            words = f"end the mute of {muted}", f"mute of {muted} ended"
        case _:
            return None
    where = f" on {action.machine}" if action.machine else ""
    return words[0] + where, words[1] + where


def _describe_other(action: AuditedAction) -> str:
    spec = COMMANDS.get(action.command)
    words = _OTHER_ACTIONS.get(action.command, action.command) if spec is None else f"show {spec.title}"
    return " · ".join(filter(None, (words, action.machine or action.cluster)))


def address_mark(address: bytes) -> str:
    """Return a mark that distinguishes hashed addresses."""
    return address[:_ADDRESS_MARK_BYTES].hex()


def _filter() -> AuditFilter:
    before = query_args.integer("before", "before must be an integer")
    outcome = query_args.text("outcome")
    try:
        return AuditFilter(
            query_args.text("username"),
            query_args.text("command"),
            None if outcome is None else Outcome(outcome),
            before,
        )
    except ValueError:
        raise BadRequest(f"outcome must be one of {', '.join(Outcome)}") from None


def _csv_row(entry: AuditEntry) -> Sequence[object]:
    action, duration = entry.action, entry.duration
    return (
        _timestamp(entry.received_at),
        action.username,
        action.cmsweb_login,
        action.command,
        action.cluster,
        action.machine,
        " ".join(f"{name}={value}" for name, value in (action.parameters or {}).items()),
        _timestamp(entry.sent_at),
        _timestamp(entry.ended_at),
        None if duration is None else f"{duration.total_seconds():.1f}",
        entry.outcome,
        entry.message,
        entry.occurrences,
        None if entry.address_hash is None else address_mark(entry.address_hash),
    )


def _timestamp(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds")
