"""Registration of the pages and of the settings, globals and filters that their templates use."""

from flask import Flask

from dqmsquare_cfg import Settings
from web.errors import PAGE_BLUEPRINTS
from web.pages import (
    cluster,
    crash_group,
    crash_rows,
    crashes,
    external_links,
    find,
    formatting,
    freshness,
    guides,
    job,
    job_log,
    live,
    log_search,
    markup,
    missed,
    navigation,
    page_urls,
    source_run,
    statistics,
    timeline,
    wall,
)
from web.pages.reports import efficiency_page, playback_page, shift_page

_PAGES = (
    *(live, job, cluster, timeline, statistics, crashes, log_search, crash_group, find, guides),
    *(shift_page, playback_page, efficiency_page),
)
# Requested by scripts of the pages.
_FRAGMENTS = (freshness, missed, wall)


def init_app(app: Flask, settings: Settings) -> None:
    """Register the pages."""
    app.config["MISSING_AFTER_S"] = settings.missing_after_s
    app.config["LATE_FILE_AFTER_S"] = app.jinja_env.globals["late_file_after_s"] = settings.late_file_after_s
    app.jinja_env.globals["guides"] = guides.GUIDES
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    formatting.init_app(app)
    page_urls.init_app(app)
    external_links.init_app(app, settings)
    job_log.init_app(app)
    source_run.init_app(app)
    markup.init_app(app, settings)
    crash_rows.init_app(app)
    navigation.init_app(app)
    app.config[PAGE_BLUEPRINTS] = frozenset(page.bp.name for page in _PAGES)
    for module in (*_PAGES, *_FRAGMENTS):
        prefix = f"{settings.server_url_prefix}{module.bp.url_prefix or ''}"
        app.register_blueprint(module.bp, url_prefix=prefix)
