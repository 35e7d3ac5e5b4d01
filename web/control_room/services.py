"""What the Control Room's routes share, an object an application."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Flask, current_app

from dqm2.redaction.redactor import Redactor, get_redactor
from dqmsquare_cfg import Cluster, Settings
from storage.anonymous_refusals import AnonymousRefusals
from storage.audit_log import AuditLog
from storage.command_queue import CommandQueue
from storage.login_store import SessionStore
from storage.login_throttle import LoginThrottle
from storage.mutes import MuteWriter
from web import databases
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
    tries: LoginThrottle
    browsers: KnownBrowsers
    audit: AuditLog
    strangers: AnonymousRefusals
    relay: Relay
    mutes: Mapping[Cluster, MuteWriter]
    redact: Redactor


def init_app(app: Flask, settings: Settings) -> None:
    """Gives an application its desk; nothing is connected until it is needed."""
    by_cluster = databases.of_app(app)
    database = by_cluster[Cluster.PLAYBACK].transactions
    mutes = {cluster: MuteWriter(by_cluster[cluster].transactions) for cluster in Cluster}
    labels = MachineLabels(settings, {cluster: by_cluster[cluster].engine for cluster in Cluster})
    audit = AuditLog(database, settings.audit_retention)
    sessions = Sessions(settings, SessionStore(database))
    line = CommandQueue(by_cluster[Cluster.PLAYBACK].engine)
    app.extensions[_EXTENSION] = Desk(
        settings,
        Passwords(settings.dqm_cr_usernames),
        sessions,
        LoginThrottle(database),
        KnownBrowsers(settings),
        audit,
        AnonymousRefusals(database),
        Relay(settings, audit, line, labels, sessions),
        mutes,
        get_redactor(settings.known_hosts, settings.redaction_allowed_hosts),
    )


def desk() -> Desk:
    """The application's desk."""
    found: Desk = current_app.extensions[_EXTENSION]
    return found
