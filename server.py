"""The web application: `create_app()`, and how it is started.

python server.py             serves it with gunicorn
python server.py --version   version and commit
"""

from flask import Flask

import dqmsquare_cfg
import version
from dqmsquare_cfg import Settings
from web import api, clusters, errors, headers, health, pages, static_files


def create_app(settings: Settings | None = None) -> Flask:
    """The application, by `settings` or else by the environment; it needs no database to start."""
    settings = settings or dqmsquare_cfg.load_or_exit()
    prefix = settings.server_url_prefix
    app = Flask(__name__, static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.jinja_env.globals.update(
        version=version.current(), query_interval_ms=settings.frontend_api_query_interval
    )

    clusters.init_app(app, settings)
    errors.init_app(app)
    headers.init_app(app)
    static_files.init_app(app, prefix)

    pages.init_app(app, settings)
    app.register_blueprint(api.room, url_prefix=prefix)
    app.register_blueprint(health.room)
    if prefix:
        app.register_blueprint(health.room, url_prefix=prefix, name="health_behind_prefix")
    return app
