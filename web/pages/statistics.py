"""The statistics page `/statistics/`: a row of figures per run, as a table and as CSV.

The figures are those of DQM²'s own page (docs/dqm2-protocol.md).
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from itertools import islice
from typing import Any

from flask import Blueprint, Response, render_template

from storage.delivery_statistics import DeliveryStatistics
from storage.reader import MirrorReader
from storage.run_figures import RunFigures
from web import databases, query_args, responses
from web.cache import dependencies
from web.limits import run_range
from web.pages import freshness, run_filter
from web.pages.run_filter import RunFilterParams, other_cluster_with
from web.responses import etag_response
from web.times import iso

bp = Blueprint("statistics", __name__, url_prefix="/statistics")

_ROWS_PER_PAGE = 25
_NO_DELIVERY = DeliveryStatistics(None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """A run in figures; what is unknown is `None`, which includes most of them without its file delivery.

    `started_at` is that of the run, also without its file delivery. `stopped_at` is the newest report of a
    job, `None` while the run is ongoing. The figures of the file delivery are `DeliveryStatistics`.
    """

    run: int
    run_key: str | None
    cmssw_version: str | None
    started_at: datetime | None
    stopped_at: datetime | None
    delay_mean_s: float | None
    delay_deviation_s: float | None
    last_lumisection: int | None
    events_accepted: int | None
    size_bytes: int | None
    jobs: int
    crashed: int
    crashed_clients: int
    most_events: int | None
    highest_rate: float | None


@bp.get("/")
@dependencies.cached_view
def page() -> Response:
    """The newest runs that match the filter, with a link to older ones."""
    params = run_filter.request_params()
    context = {
        **_template_context(params),
        **freshness.template_context(params.cluster),
        "suggestions": run_filter.suggestions(params.cluster),
    }
    return etag_response(render_template("statistics/page.html", **context))


@bp.get("/fragment")
@dependencies.cached_view
def fragment() -> Response:
    """The runs, which the page keeps up to date."""
    context = _template_context(run_filter.request_params())
    return etag_response(render_template("statistics/_runs.html", **context))


@bp.get("/runs.csv")
@run_range
def csv_file() -> Response:
    """All runs that match the filter, a line each; times in UTC."""
    params = run_filter.request_params()
    reader = databases.stale_ok_reader(params.cluster)
    runs = reader.run_figures.iter_found(params.filter)
    chunks = iter(lambda: list(islice(runs, _ROWS_PER_PAGE)), [])
    lines = (_csv_line(row) for chunk in chunks for row in _statistics(reader, chunk))
    header = [field.name for field in fields(RunStatistics)]
    return responses.csv_download(f"{params.cluster}_runs.csv", header, lines)


def run_statistics(figures: RunFigures, delivery: DeliveryStatistics | None) -> RunStatistics:
    """The statistics of a run by the figures of its jobs, and of its file delivery if there is any."""
    delivery = delivery or _NO_DELIVERY
    last_lumisection = delivery.last_lumisection
    return RunStatistics(
        run=figures.run,
        run_key=figures.run_key,
        cmssw_version=figures.cmssw_version,
        started_at=figures.started_at,
        stopped_at=None if figures.is_ongoing else figures.updated_at,
        delay_mean_s=delivery.delay_mean_s,
        delay_deviation_s=delivery.delay_deviation_s,
        last_lumisection=figures.lumisection if last_lumisection is None else last_lumisection,
        events_accepted=delivery.events_accepted,
        size_bytes=delivery.size_bytes,
        jobs=figures.jobs,
        crashed=figures.crashed,
        crashed_clients=figures.crashed_clients,
        most_events=figures.most_events,
        highest_rate=figures.highest_rate,
    )


def _template_context(params: RunFilterParams) -> dict[str, Any]:
    reader = databases.stale_ok_reader(params.cluster)
    below = query_args.integer("below", run_filter.INTEGER_ERROR)
    runs = reader.run_figures.find(params.filter, below=below, limit=_ROWS_PER_PAGE)
    return {
        "cluster": params.cluster,
        "params": params,
        "below": below,
        "rows": _statistics(reader, runs),
        "run_count": reader.runs.found_span(params.filter).count,
        "other_cluster": None if runs else other_cluster_with(params.cluster, params.single_run),
        "next_below": runs[-1].run if len(runs) == _ROWS_PER_PAGE else None,
    }


def _statistics(reader: MirrorReader, runs: Sequence[RunFigures]) -> list[RunStatistics]:
    delivery = reader.deliveries.statistics([run.run for run in runs])
    return [run_statistics(run, delivery.get(run.run)) for run in runs]


def _csv_line(row: RunStatistics) -> list[object]:
    return [iso(value) if isinstance(value, datetime) else value for value in astuple(row)]
