"""The web application: `create_app()`, and how it is started.

    python server.py                 serves it with gunicorn
    python server.py --version       version and commit
    python server.py hash-password   asks for a password, and tells how DQM_CR_USERNAMES takes it

`gunicorn 'server:create_app()'` serves it too, by gunicorn's own options and without /metrics.
"""

import argparse
import logging
import sys

from flask import Flask

import dqmsquare_cfg
from dqm2.redaction.redactor import get_redactor
from dqmsquare_cfg import Settings, SettingsError
from runtime import logging_setup, version
from web import (
    access_log,
    api,
    databases,
    errors,
    health,
    limits,
    responses,
    static_files,
)
from web.cache import response_cache
from web.control_room import blueprints as control_room
from web.control_room import passwords
from web.pages import blueprints as pages
from web.serving.server import serve

log = logging.getLogger("server")

_HASHING = "hash-password"
# The largest form is a sign-in.
_LONGEST_BODY_BYTES = 64 * 1024


def create_app(settings: Settings | None = None) -> Flask:
    """The application, by `settings` or else by the environment; it needs no database to start.

    Raises SettingsError if the settings don't hold.
    """
    settings = settings or dqmsquare_cfg.load()
    prefix = settings.server_url_prefix
    configure_log(settings)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _LONGEST_BODY_BYTES
    app.jinja_env.globals.update(
        version=version.current(), query_interval_ms=settings.frontend_api_query_interval
    )

    databases.init_app(app, settings)
    response_cache.init_app(app)
    limits.init_app(app, settings)
    access_log.init_app(app, prefix)
    errors.init_app(app)
    responses.init_app(app)
    static_files.init_app(app, prefix)

    pages.init_app(app, settings)
    app.register_blueprint(api.room, url_prefix=prefix)
    control_room.init_app(app, settings)
    app.register_blueprint(health.room)
    if prefix:
        app.register_blueprint(health.room, url_prefix=prefix, name="health_behind_prefix")
    return app


def configure_log(settings: Settings) -> None:
    """Sends the log where the settings say, redacted."""
    redact = get_redactor(settings.known_hosts, settings.redaction_allowed_hosts)
    logging_setup.configure(settings, "server", debug=settings.server_debug, redact=redact)


def tell_hash(parser: argparse.ArgumentParser) -> None:
    """Asks for a password and writes its hash to standard output."""
    try:
        sys.stdout.write(f"{passwords.prompt_and_hash()}\n")
    except ValueError as error:
        parser.error(str(error))


def main(arguments: list[str] | None = None) -> None:
    """Serves the application until a signal ends the program."""
    parser = argparse.ArgumentParser(prog="server.py", description="Serves the mirror's pages and API.")
    parser.add_argument("--version", action="version", version=f"DQM² Mirror {version.current()}")
    parser.add_argument("what", nargs="?", choices=(_HASHING,), help="tells a password's hash instead")
    if parser.parse_args(arguments).what == _HASHING:
        tell_hash(parser)
        return
    settings = dqmsquare_cfg.load_or_exit()
    try:
        control_room.check_key(settings)
    except SettingsError as error:
        dqmsquare_cfg.exit_with_errors(error.lines)
    configure_log(settings)
    logging_setup.install_excepthooks()
    log.info("starting version=%s", logging_setup.quote_value(version.current()))
    for warning in (*settings.warnings, *control_room.unreadable_files(settings)):
        log.warning("%s", warning)
    serve(settings, lambda: create_app(settings))


if __name__ == "__main__":
    main()
