"""What the Control Room refuses: its audit is told first, and then whoever asked.

Who is signed in is named there. Of anybody else it says where from, and how often
(`storage/anonymous_refusals.py`). While the audit can't be written, the log has it.
"""

import logging

from flask import Blueprint, Response, request
from werkzeug.exceptions import Forbidden, HTTPException, RequestEntityTooLarge, Unauthorized

from dqm2.commands import COMMANDS
from runtime import logging_setup
from storage.audit_log import AuditedAction, Outcome
from web import errors
from web.control_room import command_validation, visitor
from web.control_room.client_address import client_address
from web.control_room.databases import NOT_WRITTEN
from web.control_room.services import desk

log = logging.getLogger(__name__)

# What the audit calls what is asked of the Control Room besides commands.
SIGN_IN, SIGN_OUT, SIGN_OUT_EVERYWHERE, PAGE = "sign_in", "sign_out", "sign_out_everywhere", "page"
MUTE, UNMUTE = "mute", "unmute"
_BY_ENDPOINT = {
    "auth.sign_in": SIGN_IN,
    "auth.sign_out": SIGN_OUT,
    "mutes.mute": MUTE,
    "mutes.end": UNMUTE,
}
_CHANGES = {MUTE, UNMUTE, *(what for what, command in COMMANDS.items() if command.is_change)}


def guard(room: Blueprint) -> None:
    """Refuses what is forged before any of a room's routes; no refusal of theirs is left out of the audit."""
    room.before_request(visitor.refuse_forged)
    for refusal in (Forbidden, RequestEntityTooLarge, Unauthorized):
        room.register_error_handler(refusal, _refused)


def turn_away(sentence: str, person: str | None = None) -> None:
    """Tells the audit that somebody without a session, who claims to be `person`, was refused something."""
    deed = _deed(person, visitor.known_login())
    address = client_address(request, desk().settings.trusted_proxies)
    desk().strangers.record(deed, desk().sessions.keyed("address", address), sentence)


def _refused(error: HTTPException) -> Response:
    expert = visitor.known_expert()
    sentence = error.description or error.name
    try:
        if expert is None:
            turn_away(sentence)
        else:
            desk().audit.record(_deed(expert.person, expert.login), Outcome.REFUSED, sentence)
    except NOT_WRITTEN:
        # What is refused stays refused, whether or not that can be written down.
        log.warning(
            "refusal not in the audit command=%s reason=%s", _asked_for(), logging_setup.quote_value(sentence)
        )
    return errors.http_error_response(error)


def _deed(person: str | None, login: str | None) -> AuditedAction:
    name = _asked_for()
    return AuditedAction(name, username=person, cmsweb_login=login, is_change=name in _CHANGES)


def _asked_for() -> str:
    if request.endpoint == "control_room.execute":
        return command_validation.named(request)
    return _BY_ENDPOINT.get(request.endpoint or "", PAGE)
