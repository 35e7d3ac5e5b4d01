"""Addresses of runs, jobs and groups of crashes, for pages that have hundreds of them.

Flask takes 50 µs to build an address. It builds one for all, into which each number or id is put. It is
escaped once as well: the addresses are markup.
"""

from collections.abc import Callable
from uuid import UUID

from flask import Flask, url_for
from markupsafe import Markup, escape

from dqmsquare_cfg import Cluster

_ANY_RUN, _ANY_JOB, _ANY_SIGNATURE = 999_999_999, UUID(int=0), "0" * 16


def init_app(app: Flask) -> None:
    """Register the functions of this module as globals of templates."""
    app.jinja_env.globals.update(run_urls=run_urls, job_urls=job_urls)


def run_urls(cluster: Cluster) -> Callable[[int], Markup]:
    """Function that returns the address of the live page of a run."""
    return _inserting_markup(_ANY_RUN, url_for("live.page", db=cluster, run=_ANY_RUN))


def job_urls(cluster: Cluster) -> Callable[[UUID | str], Markup]:
    """Function that returns the address of the page of a job, by its id."""
    return _inserting_markup(_ANY_JOB, url_for("job.page", job=_ANY_JOB, db=cluster))


def crash_group_urls(cluster: Cluster) -> Callable[[str], Markup]:
    """Function that returns the address of the page of a group of crashes, by its signature."""
    return _inserting_markup(
        _ANY_SIGNATURE, url_for("crash_group.page", signature=_ANY_SIGNATURE, db=cluster)
    )


def inserting(placeholder: object, url: str) -> Callable[[object], str]:
    """Function that puts a value without special characters in the place of the one in an address."""
    before, _, after = url.rpartition(str(placeholder))
    return lambda value: f"{before}{value}{after}"


def _inserting_markup(placeholder: object, url: str) -> Callable[[object], Markup]:
    inserted = inserting(placeholder, str(escape(url)))
    return lambda value: Markup(inserted(value))  # noqa: S704 - the value has nothing to escape
