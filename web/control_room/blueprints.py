"""Registration of the Control Room with the app."""

from collections.abc import Iterable

from flask import Flask, Response, request

from dqm2 import credentials
from dqm2.commands import COMMANDS
from dqmsquare_cfg import Settings
from web import action_text
from web.control_room import (
    audit,
    client_identity,
    cluster_state,
    commands,
    login,
    mutes,
    receivers,
    services,
    shift_report,
)


def init_app(app: Flask, settings: Settings) -> None:
    """Register the Control Room's services and blueprints, unless `CR_ENABLED` is false."""
    app.jinja_env.globals["has_control_room"] = settings.cr_enabled
    if not settings.cr_enabled:
        return
    services.init_app(app, settings)
    app.jinja_env.filters.update(
        address_mark=audit.address_mark,
        describe=action_text.describe,
        describe_done=action_text.describe_done,
    )
    app.jinja_env.globals.update(
        commands=COMMANDS,
        run_keys=settings.server_simulator_run_keys,
        may_change_production=settings.cr_production,
    )
    prefix = f"{settings.server_url_prefix}/cr"
    for module in (login, commands, cluster_state, audit, mutes, receivers, shift_report):
        app.register_blueprint(module.bp, url_prefix=prefix)

    def forbid_caching(response: Response) -> Response:
        if request.path.startswith(f"{prefix}/"):
            response.headers["Cache-Control"] = "no-store"
        return response

    app.after_request(forbid_caching)


def check_key(settings: Settings) -> None:
    """Raise SettingsError if the Control Room is enabled and the front end's key is too short."""
    if settings.cr_enabled:
        client_identity.check_key(settings.cmsweb_hmac_path)


def unreadable_files(settings: Settings) -> Iterable[str]:
    """A message for each file that the Control Room needs and can't read yet."""
    return (
        credentials.unreadable_files(credentials.control_room_files(settings)) if settings.cr_enabled else ()
    )
