"""Addresses of runs, jobs and groups of crashes, for pages that have hundreds of them.

Flask takes 50 µs to build an address. It builds one for all, into which each number or id is put.
"""

from collections.abc import Callable
from uuid import UUID

from flask import Flask, url_for

from dqmsquare_cfg import Cluster

_ANY_RUN, _ANY_JOB, _ANY_SIGNATURE = 999_999_999, UUID(int=0), "0" * 16


def init_app(app: Flask) -> None:
    """Register the functions of this module as globals of templates."""
    app.jinja_env.globals.update(run_urls=run_urls, job_urls=job_urls, crash_group_urls=crash_group_urls)


def run_urls(cluster: Cluster) -> Callable[[int], str]:
    """Function that returns the address of the live page of a run."""
    return inserting(_ANY_RUN, url_for("live.page", db=cluster, run=_ANY_RUN))


def job_urls(cluster: Cluster) -> Callable[[UUID | str], str]:
    """Function that returns the address of the page of a job, by its id."""
    return inserting(_ANY_JOB, url_for("job.page", job=_ANY_JOB, db=cluster))


def crash_group_urls(cluster: Cluster) -> Callable[[str], str]:
    """Function that returns the address of the page of a group of crashes, by its signature."""
    return inserting(_ANY_SIGNATURE, url_for("crash_group.page", signature=_ANY_SIGNATURE, db=cluster))


def inserting(placeholder: object, url: str) -> Callable[[object], str]:
    """Function that puts a value without special characters in the place of the one in an address."""
    before, _, after = url.rpartition(str(placeholder))
    return lambda value: f"{before}{value}{after}"
