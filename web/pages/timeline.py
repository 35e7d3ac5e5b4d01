"""The timeline `/timeline/`: runs × clients, newest first, a cell the worst state of a client in a run.

Some rows come with the page, more as the reader scrolls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple
from urllib.parse import quote

from flask import Blueprint, Response, render_template
from werkzeug.exceptions import BadRequest, NotFound

from storage.job_state import JobState
from storage.read_models import Job, JobSummary, Run, RunSummary
from web import databases, query_args, responses
from web.cache import dependencies
from web.limits import run_range
from web.pages import freshness, run_filter
from web.pages.formatting import iso, short
from web.pages.job_table import ClientState
from web.pages.run_filter import RunRange
from web.responses import etag_response

room = Blueprint("timeline", __name__, url_prefix="/timeline")

_FIRST_ROWS = 40
_MORE_ROWS = 150
# The places of a job's states among a client's, the worst first.
_FROM_WORST = {state: list(ClientState).index(ClientState(state)) for state in JobState}
_CSV_HEADS = (
    "run",
    "run_key",
    "cmssw_version",
    "client",
    "state",
    "machine",
    "first_report",
    "last_report",
    "lumisection",
    "events_total",
    "exit_code",
)


class Mark(NamedTuple):
    """What is shown of a client in a run: its worst state, and the events of its newest job.

    `asked` is the client as an address asks for it. A page has thousands of marks: a template takes a tuple
    apart at once, where it would look up each field of another.
    """

    asked: str
    state: JobState
    events: str


@dataclass(frozen=True, slots=True)
class Row:
    """A run, and what is shown of each client, `None` where it has no job."""

    run: RunSummary
    marks: Sequence[Mark | None]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the table, whose columns are `clients`; `go_on_below` is `None` where they are the last."""

    asked: RunRange
    clients: tuple[str, ...]
    rows: Sequence[Row]
    go_on_below: int | None

    @property
    def columns(self) -> str:
        """What tells whether further rows have the same columns."""
        return blake2b("\0".join(self.clients).encode(), digest_size=6).hexdigest()


@room.get("/")
@dependencies.cached_view
def page() -> Response:
    """The page with its first rows."""
    asked = run_filter.of_request()
    shown = {
        "timeline": _rows(asked, _FIRST_ROWS),
        "found": databases.stale_ok_reader(asked.cluster).count_runs(asked.search),
        **freshness.of_cluster(asked.cluster),
    }
    return etag_response(render_template("timeline/page.html", cluster=asked.cluster, **shown))


@room.get("/rows")
@dependencies.cached_view
def rows_part() -> Response:
    """Further rows. If a client has come since, so that columns moved, the page is to be loaded anew."""
    further = _rows(run_filter.of_request(), _MORE_ROWS)
    if query_args.text("columns") != further.columns:
        return Response("", headers={"HX-Refresh": "true"})
    return etag_response(
        render_template("timeline/_rows.html", cluster=further.asked.cluster, timeline=further)
    )


@room.get("/cell")
@dependencies.cached_view
def cell_part() -> Response:
    """What is known of a client in a run. Raises NotFound where it has no job."""
    cluster = query_args.shown_cluster()
    number, client = query_args.integer("run", "run must be an integer"), query_args.text("client")
    if number is None or client is None:
        raise BadRequest("run and client must be given")
    run = databases.stale_ok_reader(cluster).run(number)
    jobs = [] if run is None else [job for job in run.jobs if job.name == client]
    if not jobs:
        raise NotFound(f"{client} has no job in run {number}.")
    shown = {"client": client, "run": number, "jobs": jobs[::-1]}
    return etag_response(render_template("timeline/_cell.html", cluster=cluster, **shown))


@room.get("/jobs.csv")
@run_range
def csv_file() -> Response:
    """The jobs of all runs that are asked for, a line each."""
    asked = run_filter.of_request()
    runs = databases.stale_ok_reader(asked.cluster).iter_found_runs(asked.search)
    client = asked.search.client
    lines = (_csv_line(run, job) for run in runs for job in run.jobs if client in (None, job.name))
    return responses.csv_download(f"{asked.cluster}_jobs.csv", _CSV_HEADS, lines)


def _rows(asked: RunRange, most: int) -> Rows:
    reader = databases.stale_ok_reader(asked.cluster)
    below = query_args.integer("below", run_filter.NOT_NUMBERS)
    search = asked.search
    runs = reader.run_summaries(search, below=below, limit=most)
    clients = reader.clients(search.first, search.last) if search.client is None else [search.client]
    asked_for = {client: quote(client) for client in clients}
    return Rows(
        asked=asked,
        clients=tuple(clients),
        rows=[Row(run, _marks(run, asked_for)) for run in runs],
        go_on_below=runs[-1].run if len(runs) == most else None,
    )


def _marks(run: RunSummary, asked_for: Mapping[str, str]) -> list[Mark | None]:
    by_client = {name: list(jobs) for name, jobs in groupby(run.jobs, attrgetter("name"))}
    return [
        _mark(asked, by_client[client]) if client in by_client else None
        for client, asked in asked_for.items()
    ]


def _mark(asked: str, jobs: Sequence[JobSummary]) -> Mark:
    worst = min([job.state for job in jobs], key=_FROM_WORST.__getitem__)
    return Mark(asked, worst, short(jobs[-1].events_total))


def _csv_line(run: Run, job: Job) -> tuple[object, ...]:
    return (
        run.run,
        run.run_key,
        run.cmssw_version,
        job.name,
        job.state,
        job.machine,
        iso(job.started_at),
        iso(job.updated_at),
        job.lumisection,
        job.events_total,
        job.exit_code,
    )
