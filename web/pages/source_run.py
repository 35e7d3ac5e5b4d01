"""The run that a job really read: a run of the playback cluster plays an older one of production."""

from flask import Flask, url_for

from dqmsquare_cfg import Cluster
from web import databases
from web.cache import dependencies
from web.errors import DatabaseUnavailable


def init_app(app: Flask) -> None:
    """Register `source_run_url` for templates."""
    app.jinja_env.globals["source_run_url"] = source_run_url


def source_run_url(run: int) -> str | None:
    """URL of a run in the production cluster; `None` if it is not mirrored there, or can't be looked up."""
    try:
        is_mirrored = databases.stale_ok_reader(Cluster.PRODUCTION).runs.has(run)
    except DatabaseUnavailable:
        dependencies.expire_soon()
        return None
    return url_for("live.page", db=Cluster.PRODUCTION, run=run) if is_mirrored else None
