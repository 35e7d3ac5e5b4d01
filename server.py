"""The web application: `create_app()`, and how it is served.

    python server.py                 serve it with gunicorn
    python server.py --version       print version and commit
    python server.py hash-password   ask for a password and print its hash, for DQM_CR_USERNAMES

`gunicorn 'server:create_app()'` serves it as plain WSGI: with gunicorn's own options, without the response
cache, the queues and /metrics.
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
    gunicorn_app,
    health,
    legacy_urls,
    outdated,
    problems,
    query_args,
    refusals,
    responses,
    staleness,
    static_files,
)
from web.api_v1 import blueprint as api_v1
from web.control_room import blueprints as control_room
from web.control_room import passwords
from web.pages import blueprints as pages

log = logging.getLogger("server")

_HASH_PASSWORD = "hash-password"  # noqa: S105 - a command


def create_app(settings: Settings | None = None) -> Flask:
    """Create the application; it needs no database to start. `settings`: by default those of the environment.

    Raises SettingsError for missing or invalid settings.
    """
    settings = settings or dqmsquare_cfg.load()
    prefix = settings.server_url_prefix
    configure_log(settings)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = refusals.MAX_BODY_BYTES
    app.jinja_env.globals.update(
        version=version.current(), query_interval_ms=settings.frontend_api_query_interval
    )

    query_args.init_app(app)
    databases.init_app(app, settings)
    access_log.init_app(app, settings)
    problems.init_app(app, settings)
    errors.init_app(app)
    responses.init_app(app)
    outdated.init_app(app)
    staleness.init_app(app, settings)
    static_files.init_app(app, prefix)

    pages.init_app(app, settings)
    api.init_app(app, settings)
    api_v1.init_app(app, settings)
    legacy_urls.init_app(app, settings)
    control_room.init_app(app, settings)
    app.register_blueprint(health.bp)
    if prefix:
        app.register_blueprint(health.bp, url_prefix=prefix, name="health_below_prefix")
    return app


def configure_log(settings: Settings) -> None:
    """Configure the log by the settings; it is redacted."""
    redact = get_redactor(settings.known_hosts, settings.redaction_allowed_hosts)
    logging_setup.configure(settings, "server", debug=settings.server_debug, redact=redact)


def print_password_hash(parser: argparse.ArgumentParser) -> None:
    """Ask for a password and write its hash to standard output."""
    try:
        sys.stdout.write(f"{passwords.prompt_and_hash()}\n")
    except ValueError as error:
        parser.error(str(error))


def main(arguments: list[str] | None = None) -> None:
    """Serve the application until a signal ends the program."""
    parser = argparse.ArgumentParser(prog="server.py", description="Serve the mirror's pages and API.")
    parser.add_argument("--version", action="version", version=f"DQM² Mirror {version.current()}")
    parser.add_argument(
        "command", nargs="?", choices=(_HASH_PASSWORD,), help="print the hash of a password instead"
    )
    if parser.parse_args(arguments).command == _HASH_PASSWORD:
        print_password_hash(parser)
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
    gunicorn_app.serve(settings, lambda: create_app(settings))


if __name__ == "__main__":
    main()
