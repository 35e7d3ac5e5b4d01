"""What the Control Room's routes share, an object an application."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Flask, current_app

from dqm2.redaction.redactor import Redactor
from dqmsquare_cfg import Cluster, Settings
from storage.anonymous_refusals import Strangers
from storage.audit_log import Audit
from storage.command_queue import Line
from storage.login_store import SessionList
from storage.login_throttle import SignInTries
from storage.mutes import Mutes
from web.control_room import databases
from web.control_room.command_execution import Relay
from web.control_room.known_browsers import KnownBrowsers
from web.control_room.machine_labels import MachineLabels
from web.control_room.passwords import Passwords
from web.control_room.sessions import Sessions

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
    database = databases.for_records(settings)
    mutes = {
        Cluster.PLAYBACK: Mutes(database),
        Cluster.PRODUCTION: Mutes(databases.for_records(settings, Cluster.PRODUCTION)),
    }
    audit = Audit(database, settings.audit_retention)
    sessions = Sessions(settings, SessionList(database))
    line = Line(databases.for_line(settings))
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
