"""`/cr/`: the Control Room, from which experts relay commands to DQM².

DQM² executes what it is given, so all that is let through is checked, carried out in turn and recorded. Full
names of machines are shown here and nowhere else.

    what is there   commands, audit, mutes; auth: the ways in and out; goals: where the way in leads
    who asks        visitor; passwords, cmsweb_identity, client_address, csrf
                    sessions, known_browsers: what a browser is known by; cookies
    what it does    door: what may be ordered; relay: an order carried out; reports: what became of it
    what it keeps   desk: an object an application; databases, machine_labels; refusals: none goes unrecorded
"""

from collections.abc import Iterable

from flask import Flask, Response, request

from dqm2 import credentials
from dqm2.commands import COMMANDS
from dqmsquare_cfg import Settings
from web.control_room import audit, commands, login, mutes, services


def unreadable_files(settings: Settings) -> Iterable[str]:
    """A sentence for each file that it will need and can't read yet."""
    return (
        credentials.unreadable_files(credentials.control_room_files(settings)) if settings.cr_enabled else ()
    )


def init_app(app: Flask, settings: Settings) -> None:
    """Registers the Control Room, if there is to be one."""
    app.jinja_env.globals["has_control_room"] = settings.cr_enabled
    if not settings.cr_enabled:
        return
    services.init_app(app, settings)
    app.jinja_env.globals["commands"] = COMMANDS
    app.jinja_env.filters["address_mark"] = audit.address_mark
    app.jinja_env.globals["run_keys"] = settings.server_simulator_run_keys
    app.jinja_env.globals["may_change_production"] = settings.cr_production
    prefix = f"{settings.server_url_prefix}/cr"
    for room in (login.room, commands.room, audit.room, mutes.room):
        app.register_blueprint(room, url_prefix=prefix)

    def keep_nothing(response: Response) -> Response:
        if request.path.startswith(f"{prefix}/"):
            response.headers["Cache-Control"] = "no-store"
        return response

    app.after_request(keep_nothing)
