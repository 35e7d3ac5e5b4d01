"""`/cr/audit/`: the audit log with filters, and as CSV."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, render_template
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as BaseResponse

from dqm2.commands import COMMANDS
from storage.audit_log import AuditEntry, AuditFilter, Outcome
from web import query_args, responses
from web.action_text import OTHER_ACTIONS
from web.control_room import guards, login
from web.control_room.services import services

bp = Blueprint("control_audit", __name__)
guards.protect(bp)

_RECENT = timedelta(hours=1)
_MAX_RECENT = 100
_PAGE_SIZE = 100
_MAX_CSV_ROWS = 100_000
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
            commands=[*COMMANDS, *OTHER_ACTIONS],
            outcomes=list(Outcome),
        )
    )


@bp.get("/audit.csv")
def csv() -> BaseResponse:
    """The filtered entries as CSV, without pages."""
    guards.require_expert()
    entries = services().audit.iter_found(_filter(), _MAX_CSV_ROWS)
    return responses.csv_download("control-room-audit.csv", _COLUMNS, map(_csv_row, entries))


def recent_activity() -> dict[str, Any]:
    """The queued commands and the actions of the last hour, for the page's fragment."""
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


def address_mark(address: bytes) -> str:
    """A mark that distinguishes hashed addresses."""
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
