"""`/cr/login/` and `/cr/logout/`: signing in and out.

A login that CMSWEB's front end vouches for and `CR_ALLOWED_LOGINS` names needs no password. Everybody else
signs in with name and password; failed attempts delay further ones.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.exceptions import TooManyRequests, Unauthorized
from werkzeug.wrappers import Response as BaseResponse

from storage.audit_log import AuditedAction, Outcome
from storage.login_store import LoginAttempt
from web.action_text import SIGN_IN, SIGN_OUT, SIGN_OUT_EVERYWHERE
from web.control_room import csrf, guards
from web.control_room.client_identity import client_address
from web.control_room.services import services
from web.limits import RequestKind, limited_as

bp = Blueprint("login", __name__)
guards.protect(bp)

_WRONG = "Wrong name or password."
_TOO_MANY = "Too many failed attempts."
# The pages that a sign-in can lead to, by the word in `page`, with the parameters that each of them takes.
_PAGES = {
    "": "control_room.page",
    "mutes": "mutes.page",
    "audit": "control_audit.page",
    "shift": "named_shift_report.show",
}
_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "": (),
    "mutes": ("db", "run", "client", "crash"),
    "shift": ("db", "from", "to"),
    "audit": ("username", "command", "outcome", "before"),
}


@dataclass(frozen=True, slots=True)
class RedirectTarget:
    """A page that a sign-in leads to. Targets come from a fixed list, so there is no open redirect."""

    page: str
    parameters: Mapping[str, Any]

    @classmethod
    def of_page(cls, page: str) -> "RedirectTarget":
        """The target of a page, with the parameters that the request has for it."""
        names = _PARAMETERS[page]
        return cls(page, {name: request.args[name] for name in names if name in request.args})

    @classmethod
    def of_login_request(cls) -> "RedirectTarget":
        """The target that a request to the login page names, by default the Control Room's page."""
        page = request.args.get("page", "")
        return cls.of_page(page if page in _PAGES else "")

    @property
    def url(self) -> str:
        """URL of the page."""
        return url_for(_PAGES[self.page], **self.parameters)

    @property
    def login_url(self) -> str:
        """URL of the login page that leads to this page."""
        return url_for("login.page", page=self.page or None, **self.parameters)


@bp.get("/login/")
def page() -> BaseResponse:
    """Show the login form, or redirect visitors who are signed in or need no password."""
    cmsweb_login = guards.cmsweb_login()
    if guards.current_expert() is not None or services().sessions.needs_no_password(cmsweb_login):
        return redirect(RedirectTarget.of_login_request().url)
    return _form(None, 200)


@bp.post("/login/")
@limited_as(RequestKind.LOGIN)
def sign_in() -> BaseResponse:
    """Sign in with the form's `username` and `password`."""
    csrf.reject_cross_site()
    user, password = request.form.get("username", ""), request.form.get("password", "")
    # An unknown name may be a password typed into the wrong field, so it is not recorded.
    known_user = user if user in services().settings.dqm_cr_usernames else None
    attempt = _attempt(user)
    delay = services().login_throttle.check_and_count(attempt)
    if delay:
        guards.record_anonymous_refusal(_TOO_MANY, known_user)
        return _throttled(delay)
    if not services().passwords.verify(user, password):
        guards.record_anonymous_refusal(_WRONG, known_user)
        return _form(_WRONG, Unauthorized.code)
    services().login_throttle.reset(attempt)
    response = _start_session(user, RedirectTarget.of_login_request(), by_password=True)
    services().device_cookies.issue(response, user)
    return response


@bp.get("/logout/")
def sign_out_page() -> BaseResponse:
    """Show the button that signs out. Earlier mirrors signed out by this GET, which any page can send."""
    expert = guards.current_expert()
    return Response(render_template("control_room/logout.html", cluster=None, expert=expert))


@bp.post("/logout/")
def sign_out() -> BaseResponse:
    """End the session or, with `everywhere` in the form, every session of this user."""
    expert = guards.current_expert()
    response = redirect(url_for("live.page"))
    if expert is None:
        return response
    csrf.require_token(expert)
    everywhere = "everywhere" in request.form
    services().sessions.end(response, expert, everywhere=everywhere)
    action = expert.action(SIGN_OUT_EVERYWHERE if everywhere else SIGN_OUT)
    services().audit.record(action, Outcome.OK)
    return response


def redirect_to_login(wanted_page: str = "") -> BaseResponse:
    """Send an anonymous visitor to the login page, or sign in a visitor who needs no password."""
    target = RedirectTarget.of_page(wanted_page)
    cmsweb_login = guards.cmsweb_login()
    if cmsweb_login is not None and services().sessions.needs_no_password(cmsweb_login):
        return _start_session(cmsweb_login, target, by_password=False)
    return redirect(target.login_url)


def _start_session(username: str, target: RedirectTarget, *, by_password: bool) -> BaseResponse:
    cmsweb_login = guards.cmsweb_login()
    # Recorded first, so that every session is in the audit log.
    action = AuditedAction(SIGN_IN, username=username, cmsweb_login=cmsweb_login)
    services().audit.record(action, Outcome.OK)
    response = redirect(target.url)
    services().sessions.start(
        response, username, cmsweb_login, guards.current_expert(), by_password=by_password
    )
    return response


def _attempt(user: str) -> LoginAttempt:
    keyed_hash = services().sessions.keyed_hash
    # A browser with the user's device cookie counts as an address of its own.
    origin = services().device_cookies.device_id(request, user) or client_address(
        request, services().settings.trusted_proxies
    )
    return LoginAttempt(
        user=keyed_hash("user", user),
        address=keyed_hash("address", origin),
        user_and_address=keyed_hash("together", user, origin),
    )


def _throttled(delay: timedelta) -> Response:
    seconds = math.ceil(delay.total_seconds())
    response = _form(f"{_TOO_MANY} Try again in {seconds} s.", TooManyRequests.code)
    response.headers["Retry-After"] = str(seconds)
    return response


def _form(error: str | None, status: int) -> Response:
    page = render_template(
        "control_room/login.html",
        cluster=None,
        error=error,
        username=request.form.get("username", ""),
        has_users=bool(services().settings.dqm_cr_usernames),
        cmsweb_login=guards.cmsweb_login(),
        target=RedirectTarget.of_login_request(),
    )
    return Response(page, status)
