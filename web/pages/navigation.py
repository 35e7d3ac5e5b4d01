"""The top of every page, with links, alerts and help, which is the same for all pages of an endpoint."""

from functools import lru_cache

from flask import Flask, render_template, request
from markupsafe import Markup

from dqmsquare_cfg import Cluster

# Of the endpoints that are used most, of two clusters; 10 kB each.
_MAX_ENTRIES = 32


def init_app(app: Flask) -> None:
    """Register `navigation` for templates."""

    # The endpoint and the root, which addresses begin with, are those of the request.
    @lru_cache(_MAX_ENTRIES)
    def rendered(_endpoint: str | None, _root: str, cluster: Cluster | None) -> Markup:
        return Markup(render_template("_navigation.html", cluster=cluster))  # noqa: S704 - a template

    def navigation(cluster: Cluster | None = None) -> Markup:
        """The top of the page of the current request."""
        return rendered(request.endpoint, request.root_path, cluster)

    app.jinja_env.globals["navigation"] = navigation
