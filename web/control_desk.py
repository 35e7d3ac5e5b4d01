"""What the Control Room's routes share, an object an application; and who it is that asks."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Flask, current_app, g, request
from werkzeug.exceptions import Unauthorized

from dqm2.redact import Redactor
from dqmsquare_cfg import Settings
from mirror.control_audit import Audit
from mirror.control_queue import CommandLine
from mirror.control_sessions import SessionList
from mirror.mutes import Mutes
from mirror.records import Cluster
from mirror.sign_in_tries import SignInTries
from mirror.strangers import Strangers
from web import cmsweb_identity, control_database
from web.control_relay import Relay
from web.known_browsers import KnownBrowsers
from web.machine_labels import MachineLabels
from web.passwords import Passwords
from web.sessions import Expert, Sessions

_EXTENSION = "control_room"


@dataclass(frozen=True)
class Desk:
    """The settings, and all that the Control Room keeps and does."""

    settings: Settings
    passwords: Passwords
    sessions: Sessions
    tries: SignInTries
    browsers: KnownBrowsers
    audit: Audit
    strangers: Strangers
    relay: Relay
    mutes: Mapping[Cluster, Mutes]
    redact: Redactor


def init_app(app: Flask, settings: Settings) -> None:
    """Gives an application its desk; nothing is connected until it is needed."""
    database = control_database.for_records(settings)
    mutes = {
        Cluster.PLAYBACK: Mutes(database),
        Cluster.PRODUCTION: Mutes(control_database.for_records(settings, Cluster.PRODUCTION)),
    }
    audit = Audit(database, settings.audit_retention)
    sessions = Sessions(settings, SessionList(database))
    line = CommandLine(control_database.for_line(settings))
    app.extensions[_EXTENSION] = Desk(
        settings,
        Passwords(settings.dqm_cr_usernames),
        sessions,
        SignInTries(database),
        KnownBrowsers(settings),
        audit,
        Strangers(database),
        Relay(settings, audit, line, MachineLabels(settings), sessions),
        mutes,
        Redactor(settings.known_hosts, settings.public_sites),
    )


def desk() -> Desk:
    """The application's desk."""
    found: Desk = current_app.extensions[_EXTENSION]
    return found


def login() -> str | None:
    """Who CMSWEB's front end says the request is from. Raises Forbidden where that is forged."""
    if "cmsweb_login" not in g:
        g.cmsweb_login = cmsweb_identity.login(request, desk().settings.cmsweb_hmac_path)
    found: str | None = g.cmsweb_login
    return found


def refuse_forged() -> None:
    """Before each request: raises Forbidden for headers of the front end that it did not sign."""
    login()


def expert() -> Expert | None:
    """Who is signed in with the request, if anybody is."""
    if "expert" not in g:
        g.expert = desk().sessions.find(request, login())
    return known_expert()


def known_expert() -> Expert | None:
    """The same, as far as the request was looked at."""
    found: Expert | None = g.get("expert")
    return found


def known_login() -> str | None:
    """Who the front end says the request is from, as far as that was found to be true."""
    found: str | None = g.get("cmsweb_login")
    return found


def signed_in() -> Expert:
    """Who is signed in. Raises Unauthorized."""
    found = expert()
    if found is None:
        raise Unauthorized("Sign in first.")
    return found
