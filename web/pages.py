"""The mirror's pages: each a room of its own, and what they share."""

from flask import Flask

from dqmsquare_cfg import Settings
from web import live, shown

_ROOMS = (live.room,)


def init_app(app: Flask, settings: Settings) -> None:
    """Registers the pages and gives them and their templates what they need of the settings."""
    app.config["FRESHNESS_WARN_S"] = settings.freshness_warn_s
    app.config["DELIVERY_LATE_S"] = settings.delivery_late_s
    shown.init_app(app)
    for room in _ROOMS:
        app.register_blueprint(room, url_prefix=settings.server_url_prefix)
