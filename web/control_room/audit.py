"""`/cr/audit/`: who did what, when and how it ended, with filters, and as CSV."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, render_template
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as BaseResponse

from dqm2.commands import COMMANDS
from storage.audit_log import AuditEntry, AuditFilter, Outcome
from web import query_args, responses
from web.control_room import command_validation, login, redirect_targets, refusals, visitor
from web.control_room.refusals import MUTE, PAGE, SIGN_IN, SIGN_OUT, SIGN_OUT_EVERYWHERE, UNMUTE
from web.control_room.services import desk

room = Blueprint("control_audit", __name__)
refusals.guard(room)

_LAST_HOUR = timedelta(hours=1)
_MOST_OF_LAST_HOUR = 100
_MOST_ON_PAGE = 100
_MOST_IN_CSV = 100_000
_NO_COMMANDS = (MUTE, UNMUTE, SIGN_IN, SIGN_OUT, SIGN_OUT_EVERYWHERE, PAGE, command_validation.UNKNOWN)
_COLUMNS = (
    "received_at", "person", "login", "command", "cluster", "machine", "parameters", "sent_at", "ended_at",
    "seconds", "outcome", "sentence", "times", "address",
)  # fmt: skip
_MARK_BYTES = 4


@room.get("/audit/")
def page() -> BaseResponse:
    """The audit, newest first, filtered as the address says."""
    expert = visitor.expert()
    if expert is None:
        return login.refer(redirect_targets.goal(redirect_targets.AUDIT))
    wanted = _wanted()
    entries = desk().audit.find(wanted, _MOST_ON_PAGE + 1)
    return Response(
        render_template(
            "control_room/audit.html",
            cluster=None,
            expert=expert,
            wanted=wanted,
            entries=entries[:_MOST_ON_PAGE],
            has_more=len(entries) > _MOST_ON_PAGE,
            persons=desk().audit.usernames(),
            commands=[*COMMANDS, *_NO_COMMANDS],
            outcomes=list(Outcome),
        )
    )


@room.get("/audit.csv")
def table() -> BaseResponse:
    """The same as CSV, without pages."""
    visitor.signed_in()
    entries = desk().audit.find(_wanted(), _MOST_IN_CSV)
    return responses.csv_download("control-room-audit.csv", _COLUMNS, map(_line, entries))


def of_last_hour() -> dict[str, Any]:
    """What is under way and what was done in the last hour, for the page's part."""
    done = desk().audit.recent(_LAST_HOUR, _MOST_OF_LAST_HOUR + 1)
    return {
        "under_way": desk().audit.in_progress(),
        "entries": done[:_MOST_OF_LAST_HOUR],
        "has_earlier": len(done) > _MOST_OF_LAST_HOUR,
        "strangers_refused": desk().audit.anonymous_refusals_within(_LAST_HOUR),
    }


def address_mark(address: bytes) -> str:
    """What tells one address from another, and not which it is."""
    return address[:_MARK_BYTES].hex()


def _wanted() -> AuditFilter:
    before = query_args.integer("before", "before must be an integer")
    outcome = query_args.text("outcome")
    try:
        return AuditFilter(
            query_args.text("person"),
            query_args.text("command"),
            None if outcome is None else Outcome(outcome),
            before,
        )
    except ValueError:
        raise BadRequest(f"outcome must be one of {', '.join(Outcome)}") from None


def _line(entry: AuditEntry) -> Sequence[object]:
    deed, lasted = entry.action, entry.duration
    return (
        _time(entry.received_at),
        deed.username,
        deed.cmsweb_login,
        deed.command,
        deed.cluster,
        deed.machine,
        " ".join(f"{name}={value}" for name, value in (deed.parameters or {}).items()),
        _time(entry.sent_at),
        _time(entry.ended_at),
        None if lasted is None else f"{lasted.total_seconds():.1f}",
        entry.outcome,
        entry.message,
        entry.occurrences,
        None if entry.address_hash is None else address_mark(entry.address_hash),
    )


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds")
