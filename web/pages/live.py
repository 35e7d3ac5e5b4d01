"""The live page `/`: one run and its jobs, updated fragment by fragment.

A fragment is a template of `templates/live/`. The page includes them all, and a script fetches each one again
while the page is open; an unchanged fragment is answered with 304. A fragment depends on the mirror's content
only: ages are computed in the browser, from the server's clock.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Self
from urllib.parse import urlencode
from uuid import UUID, uuid4

from flask import Blueprint, Response, current_app, render_template
from werkzeug.exceptions import BadRequest

from dqmsquare_cfg import Cluster
from storage.client_rows import ClientRow, ClientState, client_rows, count_by_state, is_starting
from storage.crash_reader import CrashOccurrences
from storage.read_models import AdjacentRuns, JobDetails, Playback, Run
from storage.reader import MirrorReader
from web import databases, query_args
from web.cache import dependencies
from web.pages import active_mutes, delivery_graph, elog, freshness, page_urls, run_filter
from web.pages.delivery_graph import FileTime
from web.pages.job_history import ClientHistory, client_history
from web.pages.job_table import SortColumn, SortOrder, matches_filter, sort_rows
from web.pages.verdict import Verdict, judge
from web.responses import etag_response

bp = Blueprint("live", __name__)

# More than a screen holds. Each expanded job is read with its log and series, so a URL must not ask for more.
MAX_EXPANDED = 8
_MAX_FILTER_LENGTH = 200
_MAX_HIDDEN_LENGTH = 2000
_DEFAULT_ORDER = SortOrder(SortColumn.STATE)
# In the place of a job in an address; no address that is requested has it.
_ANY_JOB = uuid4()


@dataclass(frozen=True, slots=True)
class LiveViewParams:
    """The URL parameters of the live page: cluster, run (`None`: the newest), and how its jobs are shown.

    `hidden_streams` are names separated by commas; only the scripts interpret them.
    """

    cluster: Cluster
    run: int | None = None
    order: SortOrder = _DEFAULT_ORDER
    states: tuple[ClientState, ...] = ()
    filter_text: str = ""
    expanded: tuple[UUID, ...] = ()
    file_time: FileTime = FileTime.MODIFIED
    hidden_streams: str = ""

    @property
    def follows_newest(self) -> bool:
        """Whether the page moves on to the next run by itself."""
        return self.run is None

    @property
    def is_filtered(self) -> bool:
        """Whether rows may be hidden."""
        return bool(self.states or self.filter_text)

    @property
    def query_params(self) -> list[tuple[str, str]]:
        """The parameters that differ from their defaults."""
        params = (
            ("db", self.cluster, None),
            ("run", self.run, None),
            ("sort", str(self.order), str(_DEFAULT_ORDER)),
            ("state", ",".join(self.states), ""),
            ("q", self.filter_text, ""),
            ("job", ",".join(map(str, self.expanded)), ""),
            ("time", self.file_time, FileTime.MODIFIED),
            ("hide", self.hidden_streams, ""),
        )
        return [(name, str(value)) for name, value, default in params if value != default]

    @property
    def query_string(self) -> str:
        """The query string of the URL of this view."""
        return urlencode(self.query_params)

    def replace(self, **changes: Any) -> Self:
        """The view with some parameters changed."""
        return replace(self, **changes)

    def for_run(self, run: int | None) -> Self:
        """The same view of another run, without expanded jobs, since these belong to this run."""
        return replace(self, run=run, expanded=())

    def sorted_by(self, column: SortColumn) -> Self:
        """The view after a click on a column's header: sorted by it, or in the other direction."""
        is_same = self.order.column is column
        return replace(self, order=SortOrder(column, is_descending=is_same and not self.order.is_descending))

    def toggle_state(self, state: ClientState) -> Self:
        """The view after a click on a state's count: this state only, or all if it was the only one."""
        return replace(self, states=() if self.states == (state,) else (state,))

    def toggle_job(self, job: UUID) -> Self:
        """The view after a click on a job: expanded, or collapsed if it was expanded."""
        if job in self.expanded:
            return replace(self, expanded=tuple(other for other in self.expanded if other != job))
        return replace(self, expanded=(*self.expanded, job)[-MAX_EXPANDED:])

    def job_toggles(self) -> Callable[[UUID], str]:
        """Function that returns the query string of `toggle_job`, for pages that have one for each client."""
        expand = page_urls.inserting(_ANY_JOB, self.toggle_job(_ANY_JOB).query_string)
        return lambda job: self.toggle_job(job).query_string if job in self.expanded else expand(job)


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run as the live page shows it: `number` is `None` if nothing is mirrored, `run` if this run is not.

    `rows` holds all clients in the requested order; `passes_filter` says which of them are visible.
    `crash_groups` are by signature, `expanded` and `histories` by the id of an expanded job.
    """

    params: LiveViewParams
    number: int | None
    newest: int | None
    adjacent: AdjacentRuns
    run: Run | None
    playback: Playback | None
    rows: tuple[ClientRow, ...]
    counts: Mapping[ClientState, int]
    crash_groups: Mapping[str, CrashOccurrences]
    expanded: Mapping[UUID, JobDetails]
    histories: Mapping[UUID, ClientHistory]
    delivery_version: str

    @property
    def is_newest(self) -> bool:
        """Whether this is the newest run of the cluster."""
        return self.number == self.newest

    @property
    def verdict(self) -> Verdict:
        """The verdict on the run."""
        return judge(self.number, self.run, self.rows)

    @property
    def is_final(self) -> bool:
        """Whether no further report is expected: an outage of the data path can't make the run's data old.

        Missing clients may have jobs that are not mirrored yet.
        """
        is_complete = not (self.counts[ClientState.MISSING] or self.counts[ClientState.STARTING])
        return self.run is not None and not self.is_newest and self.run.is_final and is_complete

    @property
    def recovered(self) -> int:
        """Number of clients that crashed and were restarted."""
        return sum(row.has_recovered for row in self.rows)

    @property
    def crashed_clients(self) -> int:
        """Number of clients of which a job crashed, restarted or not."""
        return sum(bool(row.crashes) for row in self.rows)

    @property
    def crashes(self) -> int:
        """Number of jobs of the run that crashed."""
        return sum(len(row.crashes) for row in self.rows)

    @property
    def elog(self) -> str:
        """The run as a text for the e-log; empty if the mirror has no data of it."""
        return (
            "" if self.run is None else elog.text(self.params.cluster, self.run, self.rows, self.crash_groups)
        )

    @property
    def visible_rows(self) -> int:
        """Number of clients that pass the filter."""
        return sum(map(self.passes_filter, self.rows))

    def passes_filter(self, row: ClientRow) -> bool:
        """Whether a client passes the filter of the view."""
        return matches_filter(row, self.params.states, self.params.filter_text)


@bp.get("/")
@dependencies.cached_view
def page() -> Response:
    """The complete page; it is usable without scripts. With `wall`, the view for a large screen."""
    params = request_params()
    if query_args.text("wall") is not None:
        context = freshness.template_context(params.cluster)
        return etag_response(render_template("live/wall.html", cluster=params.cluster, **context))
    context = {
        **_template_context(params),
        **freshness.template_context(params.cluster),
        "findable": run_filter.findable(params.cluster),
    }
    return etag_response(render_template("live/page.html", cluster=params.cluster, **context))


@bp.get("/live/run")
@dependencies.cached_view
def run_fragment() -> Response:
    """The run's summary and its jobs."""
    return etag_response(render_template("live/_run.html", **_template_context(request_params())))


@bp.get("/live/delivery")
@dependencies.cached_view
def delivery() -> Response:
    """The file delivery of a run for its graphs, as JSON; `whole` gives every lumisection of a long run."""
    params = request_params()
    found = (
        None if params.run is None else databases.stale_ok_reader(params.cluster).deliveries.get(params.run)
    )
    columns = delivery_graph.to_json(
        found,
        params.file_time,
        current_app.config["LATE_FILE_AFTER_S"],
        is_whole=query_args.text("whole") is not None,
    )
    return etag_response(columns, "application/json")


def request_params() -> LiveViewParams:
    """The parameters of the current request. Raises BadRequest, which lists the accepted values."""
    return LiveViewParams(
        cluster=query_args.page_cluster(),
        run=query_args.page_run(),
        order=_parse_order(query_args.text("sort")),
        states=_parse_states(query_args.text("state")),
        filter_text=(query_args.text("q") or "")[:_MAX_FILTER_LENGTH],
        expanded=_parse_jobs(query_args.text("job")),
        file_time=_parse_file_time(query_args.text("time")),
        hidden_streams=(query_args.text("hide") or "")[:_MAX_HIDDEN_LENGTH],
    )


def read_run(reader: MirrorReader, params: LiveViewParams) -> LiveRun:
    """Read the requested run, or the newest, with everything that the page shows of it."""
    newest = reader.runs.span().highest
    number = newest if params.run is None else params.run
    run = None if number is None else reader.runs.get(number)
    rows = () if run is None else tuple(sort_rows(rows_of_run(reader, run), params.order))
    expanded = () if run is None else _details(reader, params, run)
    delivered_at = None if number is None else reader.deliveries.updated_at(number)
    return LiveRun(
        params=params,
        number=number,
        newest=newest,
        adjacent=AdjacentRuns(None, None) if number is None else reader.runs.adjacent(number),
        run=run,
        playback=None if number is None else reader.deliveries.playback(number),
        rows=rows,
        counts=count_by_state(rows),
        crash_groups={} if run is None else _crash_groups(reader, run),
        expanded={details.job.id: details for details in expanded},
        histories={} if run is None else _histories(reader, run, expanded),
        delivery_version="" if delivered_at is None else delivered_at.isoformat(),
    )


def _template_context(params: LiveViewParams) -> dict[str, Any]:
    live = read_run(databases.stale_ok_reader(params.cluster), params)
    return {
        "live": live,
        "params": params,
        "max_expanded": MAX_EXPANDED,
        "other_cluster": run_filter.other_cluster_with(params.cluster, params.run)
        if live.run is None
        else None,
        "SortColumn": SortColumn,
        "ClientState": ClientState,
    }


def rows_of_run(reader: MirrorReader, run: Run) -> list[ClientRow]:
    """The clients of a run, with those that the previous run with the same run key had."""
    mutes = active_mutes.of_run(reader, run)
    if run.run_key is None or not run.jobs:
        return _with_skipped(reader, run, client_rows(run, (), mutes))
    expected = reader.runs.expected_clients(run.run, run.run_key)
    missing_after = timedelta(seconds=current_app.config["MISSING_AFTER_S"])
    may_start = is_starting(run, expected.startup, missing_after)
    return _with_skipped(reader, run, client_rows(run, expected.clients, mutes, is_starting=may_start))


def _with_skipped(reader: MirrorReader, run: Run, rows: list[ClientRow]) -> list[ClientRow]:
    """The rows, with the lumisections that restarted clients skipped counted over all their jobs."""
    restarted = tuple(
        row.client for row in rows if row.earlier and any(job.lumisections_skipped for job in row.jobs)
    )
    if not restarted:
        return rows
    skipped = reader.runs.skipped_lumisections(run.run, restarted)
    return [
        replace(row, lumisections_skipped=skipped.get(row.client, row.lumisections_skipped)) for row in rows
    ]


def _crash_groups(reader: MirrorReader, run: Run) -> dict[str, CrashOccurrences]:
    return reader.crashes.occurrences_in(run.run) if any(job.crash_group for job in run.jobs) else {}


def _details(reader: MirrorReader, params: LiveViewParams, run: Run) -> list[JobDetails]:
    expanded = [job.id for job in run.jobs if job.id in params.expanded]
    return [details for job in expanded if (details := reader.jobs.details(job)) is not None]


def _histories(reader: MirrorReader, run: Run, expanded: Iterable[JobDetails]) -> dict[UUID, ClientHistory]:
    return {details.job.id: client_history(reader, run, details.job.client) for details in expanded}


def _parse_order(value: str | None) -> SortOrder:
    if value is None:
        return _DEFAULT_ORDER
    try:
        return SortOrder(SortColumn(value.removeprefix("-")), is_descending=value.startswith("-"))
    except ValueError:
        raise BadRequest(
            f"sort must be one of {', '.join(SortColumn)}, with a leading - for descending order"
        ) from None


def _parse_states(value: str | None) -> tuple[ClientState, ...]:
    if value is None:
        return ()
    try:
        requested = {ClientState(state) for state in value.split(",")}
    except ValueError:
        raise BadRequest(
            f"state must be one or more of {', '.join(ClientState)}, separated by commas"
        ) from None
    return tuple(state for state in ClientState if state in requested)


def _parse_file_time(value: str | None) -> FileTime:
    try:
        return FileTime(value or FileTime.MODIFIED)
    except ValueError:
        raise BadRequest(f"time must be one of {', '.join(FileTime)}") from None


def _parse_jobs(value: str | None) -> tuple[UUID, ...]:
    if value is None:
        return ()
    try:
        jobs = [UUID(job) for job in value.split(",")[:MAX_EXPANDED]]
    except ValueError:
        raise BadRequest("job must be one or more job ids, separated by commas") from None
    return tuple(dict.fromkeys(jobs))
