"""Guards of the Control Room's blueprints: identity of the sender of a request, audit of every refusal.

A refusal is recorded before it is answered: under the name of the signed-in expert or, for anybody else, by
address and bounded in number (`storage/anonymous_refusals.py`). While the audit can't be written, the refusal
is logged.
"""

import logging

from flask import Blueprint, Response, g, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import Forbidden, HTTPException, RequestEntityTooLarge, Unauthorized

from runtime import logging_setup
from storage.audit_log import AuditedAction, Outcome
from web import errors
from web.action_text import CHANGES, MUTE, PAGE, SIGN_IN, SIGN_OUT, UNMUTE
from web.control_room import client_identity, command_validation
from web.control_room.services import services
from web.control_room.sessions import Expert

log = logging.getLogger(__name__)

_ACTION_OF_ENDPOINT = {
    "login.sign_in": SIGN_IN,
    "login.sign_out": SIGN_OUT,
    "mutes.mute": MUTE,
    "mutes.unmute": UNMUTE,
}


def protect(bp: Blueprint) -> None:
    """Reject forged identity headers before every view of a blueprint, and record all refusals."""
    bp.before_request(_reject_forged_identity)
    for refusal in (Forbidden, RequestEntityTooLarge, Unauthorized):
        bp.register_error_handler(refusal, _record_and_answer)


def cmsweb_login() -> str | None:
    """The login that CMSWEB's front end vouches for. Raises Forbidden if its headers are forged."""
    if "cmsweb_login" not in g:
        g.cmsweb_login = client_identity.cmsweb_login(request, services().settings.cmsweb_hmac_path)
    return _known_login()


def current_expert() -> Expert | None:
    """The signed-in expert, if any."""
    if "expert" not in g:
        g.expert = services().sessions.find(request, cmsweb_login())
    return _known_expert()


def require_expert() -> Expert:
    """The signed-in expert. Raises Unauthorized if nobody is signed in."""
    expert = current_expert()
    if expert is None:
        raise Unauthorized("Sign in first.")
    return expert


def record_anonymous_refusal(message: str, username: str | None = None) -> None:
    """Record in the audit that a request without a session, which named a user, was refused."""
    command = _requested_command()
    address = client_identity.client_address(request, services().settings.trusted_proxies)
    services().anonymous_refusals.record(
        AuditedAction(command, username=username, cmsweb_login=_known_login(), is_change=command in CHANGES),
        services().sessions.keyed_hash("address", address),
        message,
    )


def _reject_forged_identity() -> None:
    cmsweb_login()


def _known_login() -> str | None:
    """The front end's login as far as this request has verified it."""
    verified: str | None = g.get("cmsweb_login")
    return verified


def _known_expert() -> Expert | None:
    """The signed-in expert as far as this request has looked it up."""
    expert: Expert | None = g.get("expert")
    return expert


def _record_and_answer(error: HTTPException) -> Response:
    expert = _known_expert()
    message = error.description or error.name
    try:
        if expert is None:
            record_anonymous_refusal(message)
        else:
            services().audit.record(expert.action(_requested_command()), Outcome.REFUSED, message)
    except SQLAlchemyError:
        # The request is refused whether or not that can be recorded.
        log.warning(
            "audit_write_failed command=%s outcome=%s reason=%s",
            _requested_command(),
            Outcome.REFUSED,
            logging_setup.quote_value(message),
        )
    return errors.http_error_response(error)


def _requested_command() -> str:
    if request.endpoint == "control_room.execute":
        return command_validation.command_name(request)
    return _ACTION_OF_ENDPOINT.get(request.endpoint or "", PAGE)
