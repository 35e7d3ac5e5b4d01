"""Services shared by the Control Room's views; one instance per Flask app.

Audit, sessions, login attempts and the command queue are stored in the playback cluster's database, mutes in
the database of the client's cluster. While the playback cluster's database is unavailable, nothing is sent.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import sqlalchemy as sa
from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from dqm2.pseudonyms import Pseudonymizer, default_label
from dqm2.redaction.redactor import Redactor, get_redactor
from dqmsquare_cfg import Cluster, Settings
from storage.anonymous_refusals import AnonymousRefusals
from storage.audit_log import AuditLog
from storage.command_queue import CommandQueue
from storage.login_store import LoginThrottle, SessionStore
from storage.machines import find_label
from storage.mutes import MuteWriter
from web import databases as web_databases
from web.control_room.command_execution import CommandExecutor
from web.control_room.passwords import Passwords
from web.control_room.sessions import DeviceCookies, Sessions

_EXTENSION = "control_room"


@dataclass(frozen=True)
class Services:
    """The settings and everything that the Control Room's views store or execute with."""

    settings: Settings
    passwords: Passwords
    sessions: Sessions
    device_cookies: DeviceCookies
    login_throttle: LoginThrottle
    audit: AuditLog
    anonymous_refusals: AnonymousRefusals
    executor: CommandExecutor
    machine_label: Callable[[str], str]
    mutes: Mapping[Cluster, MuteWriter]
    redact: Redactor


class MachineLabels:
    """Labels of the configured machines, cached without expiry, because a label never changes."""

    def __init__(self, settings: Settings, databases: Mapping[Cluster, sa.Engine]) -> None:
        self._playback_machines = settings.fff_playback_machines
        self._pseudonymizer = Pseudonymizer(settings.pseudonym_secret)
        self._databases = databases
        self._labels: dict[str, str] = {}

    def label(self, host: str) -> str:
        """The label of a machine of either cluster, or its default label if none is stored yet."""
        if host not in self._labels:
            label = self._look_up(host)
            if label is None:
                return default_label(host)
            self._labels[host] = label
        return self._labels[host]

    def _look_up(self, host: str) -> str | None:
        cluster = Cluster.PLAYBACK if host in self._playback_machines else Cluster.PRODUCTION
        # The default label is good enough; a command does not fail because this database is unavailable.
        with suppress(SQLAlchemyError):
            return find_label(self._databases[cluster], self._pseudonymizer.for_machine(host))
        return None


def init_app(app: Flask, settings: Settings) -> None:
    """Create the app's services. Nothing connects to a database until it is used."""
    databases = web_databases.of_app(app)
    engines = {cluster: database.engine for cluster, database in databases.items()}
    transactions = databases[Cluster.PLAYBACK].transactions
    audit = AuditLog(transactions, settings.audit_retention)
    sessions = Sessions(settings, SessionStore(transactions))
    queue = CommandQueue(engines[Cluster.PLAYBACK])
    labels = MachineLabels(settings, engines)
    app.extensions[_EXTENSION] = Services(
        settings=settings,
        passwords=Passwords(settings.dqm_cr_usernames),
        sessions=sessions,
        device_cookies=DeviceCookies(settings),
        login_throttle=LoginThrottle(transactions),
        audit=audit,
        anonymous_refusals=AnonymousRefusals(transactions),
        executor=CommandExecutor(settings, audit, queue, labels.label, sessions),
        machine_label=labels.label,
        mutes={cluster: MuteWriter(database.transactions) for cluster, database in databases.items()},
        redact=get_redactor(settings.known_hosts, settings.redaction_allowed_hosts),
    )


def services() -> Services:
    """The services of the current app."""
    found: Services = current_app.extensions[_EXTENSION]
    return found
