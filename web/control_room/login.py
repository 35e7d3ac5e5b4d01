"""`/cr/login/` and `/cr/logout/`: who may enter the Control Room, and how one leaves it.

Whoever CMSWEB's front end vouches for and the settings allow enters without a password. Others sign in by
name and password; failed tries slow further ones down.
"""

import math
from datetime import timedelta

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.exceptions import Unauthorized
from werkzeug.wrappers import Response as BaseResponse

from storage.audit_log import AuditedAction, Outcome
from storage.login_throttle import LoginAttempt
from web.control_room import csrf, redirect_targets, refusals, visitor
from web.control_room.client_address import client_address
from web.control_room.redirect_targets import Goal
from web.control_room.refusals import SIGN_IN, SIGN_OUT, SIGN_OUT_EVERYWHERE
from web.control_room.services import desk

room = Blueprint("auth", __name__)
refusals.guard(room)

_TOO_EARLY = 429
_WRONG = "Name or password is wrong."
_TOO_EARLY_WORDS = "Too many tries failed."


@room.get("/login/")
def sign_in_page() -> BaseResponse:
    """The form; who is signed in already, or needs no password, goes on."""
    if visitor.expert() is not None or desk().sessions.is_allowed(visitor.login()):
        return redirect(redirect_targets.of_request().address)
    return _form(None, 200)


@room.post("/login/")
def sign_in() -> BaseResponse:
    """Signs in by the form's `username` and `password`."""
    csrf.refuse_from_elsewhere(request)
    user, password = request.form.get("username", ""), request.form.get("password", "")
    # A name that nobody has may be a password in the wrong field: it is not kept.
    known = user if user in desk().settings.dqm_cr_usernames else None
    attempt = _try(user)
    wait = desk().tries.check_and_count(attempt)
    if wait:
        refusals.turn_away(_TOO_EARLY_WORDS, known)
        return _slowed_down(wait)
    if not desk().passwords.accepts(user, password):
        refusals.turn_away(_WRONG, known)
        return _form(_WRONG, Unauthorized.code)
    desk().tries.reset(attempt)
    response = _admitted(user, redirect_targets.of_request(), by_password=True)
    desk().browsers.remember(response, user)
    return response


@room.post("/logout/")
def sign_out() -> BaseResponse:
    """Ends the session; with `everywhere` in the form, every session of this person."""
    expert = visitor.expert()
    response = redirect(url_for("live.page"))
    if expert is None:
        return response
    csrf.require_token(request, expert)
    is_everywhere = "everywhere" in request.form
    desk().sessions.end(response, expert, everywhere=is_everywhere)
    _note(SIGN_OUT_EVERYWHERE if is_everywhere else SIGN_OUT, expert.person)
    return response


def refer(goal: Goal) -> BaseResponse:
    """The answer to who wants a page and is not signed in: to do so, unless the front end vouches for him."""
    login = visitor.login()
    if login is not None and desk().sessions.is_allowed(login):
        return _admitted(login, goal, by_password=False)
    return redirect(goal.sign_in)


def _admitted(person: str, goal: Goal, *, by_password: bool) -> BaseResponse:
    """The way in, with a new session; the audit knows of it first."""
    response = redirect(goal.address)
    _note(SIGN_IN, person)
    desk().sessions.begin(response, person, visitor.login(), visitor.expert(), by_password=by_password)
    return response


def _try(user: str) -> LoginAttempt:
    keyed = desk().sessions.keyed
    # A browser that the user is known by counts as an address of its own.
    origin = desk().browsers.mark(request, user) or client_address(request, desk().settings.trusted_proxies)
    return LoginAttempt(
        user=keyed("user", user),
        address=keyed("address", origin),
        user_and_address=keyed("together", user, origin),
    )


def _slowed_down(wait: timedelta) -> Response:
    seconds = math.ceil(wait.total_seconds())
    response = _form(f"{_TOO_EARLY_WORDS} Try again in {seconds} s.", _TOO_EARLY)
    response.headers["Retry-After"] = str(seconds)
    return response


def _form(refusal: str | None, status: int) -> Response:
    page = render_template(
        "control_room/sign_in.html",
        cluster=None,
        refusal=refusal,
        is_open=bool(desk().settings.dqm_cr_usernames),
        login=visitor.login(),
        goal=redirect_targets.of_request(),
    )
    return Response(page, status)


def _note(command: str, person: str) -> None:
    desk().audit.record(AuditedAction(command, username=person, cmsweb_login=visitor.login()), Outcome.OK)
