"""What the Control Room's routes share, an object an application."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Flask, current_app

from dqm2.redact import Redactor
from dqmsquare_cfg import Settings
from mirror.control_room.audit import Audit
from mirror.control_room.line import Line
from mirror.control_room.sessions import SessionList
from mirror.control_room.sign_in_tries import SignInTries
from mirror.control_room.strangers import Strangers
from mirror.mutes import Mutes
from mirror.records import Cluster
from web.control_room import databases
from web.control_room.known_browsers import KnownBrowsers
from web.control_room.machine_labels import MachineLabels
from web.control_room.passwords import Passwords
from web.control_room.relay import Relay
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
