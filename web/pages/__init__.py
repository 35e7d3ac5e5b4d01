"""The mirror's pages: each a room of its own, and what they share.

Their templates stand in folders of the same names.

    the live page     live; view: what its reader asks for; live_run, job_table, delivery_graph: what it shows
    one job           job; log_lines
    machines          cluster
    many runs         timeline; statistics, run_statistics; run_range
    on every page     freshness, staleness: how old it all is; shown: how values are worded; guides; oms
"""

from flask import Flask

from dqmsquare_cfg import Settings
from web.pages import cluster, formatting, freshness, guides, job, live, oms, statistics, timeline

_ROOMS = (
    live.room,
    freshness.room,
    job.room,
    cluster.room,
    timeline.room,
    statistics.room,
    guides.room,
)


def init_app(app: Flask, settings: Settings) -> None:
    """Registers the pages and gives them and their templates what they need of the settings."""
    app.config["STALE_AFTER_S"] = settings.stale_after_s
    app.config["LATE_FILE_AFTER_S"] = app.jinja_env.globals["late_file_after_s"] = settings.late_file_after_s
    app.jinja_env.globals["told_within_s"] = freshness.told_within_s(settings)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    formatting.init_app(app)
    guides.init_app(app)
    app.jinja_env.filters["oms"] = oms.run_report
    for room in _ROOMS:
        app.register_blueprint(room, url_prefix=f"{settings.server_url_prefix}{room.url_prefix or ''}")
