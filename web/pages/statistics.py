"""The statistics page `/statistics/`: one run in numbers, or a range of them as a table and as CSV."""

from collections.abc import Sequence
from dataclasses import astuple, fields
from itertools import islice

from flask import Blueprint, Response, render_template

from storage.read_models import Run
from storage.reader import MirrorReader
from web import databases, query_args, responses
from web.cache import dependencies
from web.limits import run_range
from web.pages import freshness, run_filter
from web.pages.formatting import iso
from web.pages.run_statistics import RunStatistics, run_statistics
from web.responses import etag_response

room = Blueprint("statistics", __name__, url_prefix="/statistics")

# A run's file delivery has to be unpacked for its statistics, so that the rows that come at once are few.
_ROWS_AT_A_TIME = 25


@room.get("/")
@dependencies.cached_view
def page() -> Response:
    """The page with the newest runs of the range; older ones by a link."""
    asked = run_filter.of_request()
    reader = databases.stale_ok_reader(asked.cluster)
    below = query_args.integer("below", run_filter.NOT_NUMBERS)
    runs = reader.find_runs(asked.search, below=below, limit=_ROWS_AT_A_TIME)
    shown = {
        "asked": asked,
        "rows": _statistics(reader, runs),
        "found": reader.count_runs(asked.search),
        "go_on_below": runs[-1].run if len(runs) == _ROWS_AT_A_TIME else None,
        **freshness.of_cluster(asked.cluster),
    }
    return etag_response(render_template("statistics/page.html", cluster=asked.cluster, **shown))


@room.get("/runs.csv")
@run_range
def csv_file() -> Response:
    """The statistics of all runs of the range, a line each; times in UTC."""
    asked = run_filter.of_request()
    reader = databases.stale_ok_reader(asked.cluster)
    runs = reader.iter_found_runs(asked.search)
    # Some at a time are taken until there are none.
    some = iter(lambda: list(islice(runs, _ROWS_AT_A_TIME)), [])
    lines = (_csv_line(line) for of_some in some for line in _statistics(reader, of_some))
    return responses.csv_download(
        f"{asked.cluster}_runs.csv", [field.name for field in fields(RunStatistics)], lines
    )


def _statistics(reader: MirrorReader, runs: Sequence[Run]) -> list[RunStatistics]:
    delivered = reader.delivery_statistics([run.run for run in runs])
    return [run_statistics(run, delivered.get(run.run)) for run in runs]


def _csv_line(statistics: RunStatistics) -> list[object]:
    return [iso(value) if hasattr(value, "tzinfo") else value for value in astuple(statistics)]
