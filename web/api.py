"""`/api?what=…`: the interface of scripts at CERN, compatible with earlier mirrors (docs/api.md).

A missing number is -1 and a missing text is "", since scripts compute with them; the exit code of a running
job is null.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from flask import Blueprint, Flask, Response, current_app, redirect, url_for
from markupsafe import Markup
from werkzeug.exceptions import BadRequest, NotFound
from werkzeug.wrappers import Response as BaseResponse

from dqm2.document_parser import UNKNOWN_CLIENT
from dqm2.log_messages import full_text
from dqm2.pseudonyms import Pseudonymizer
from dqm2.records import Stream
from dqmsquare_cfg import Cluster, Settings
from storage.client_names import client_name
from storage.read_models import Delivery, Job, JobDetails, MachineStatus, Run
from storage.reader import MirrorReader
from storage.run_listing import ListedJob, ListedRun
from web import access_log, databases, query_args
from web.cache.dependencies import cached_view_if, expire_at
from web.errors import DELIVERY_DAMAGED, LOG_DAMAGED, RunItemNotFound
from web.legacy_urls import LegacyJobId
from web.limits import RequestKind, limited_as
from web.responses import etag_response, streamed
from web.times import unix_ms

bp = Blueprint("api", __name__)

_RUN_REFUSAL = "run must be an integer"
_RANGE_REFUSAL = "to, from must be integers"
_RUNS_REFUSAL = "to, from, bad_only and ls must be integers"
_CHUNK_BYTES = 64 * 1024

_NO_JOB = "there is no job with this id"
# Names that earlier mirrors left out of their lists: no clients of a run.
_NO_CLIENTS = ("__init__", UNKNOWN_CLIENT)
_PSEUDONYMIZER = "job_pseudonymizer"
_LOG_DELETED = "[the log of this job is no longer kept]"

# Its values are escaped.
_LOG_PAGE = Markup("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{client}, run {run}</title>
<pre>{text}</pre>
</html>
""")


_CACHED = ("get_info", "get_run", "get_graph", "get_clients", "get_logs", "get_cluster_status")
_RUN_RANGES = ("get_runs", "get_clients")
_SECOND = timedelta(seconds=1)
# A response of `get_runs` for more runs is streamed instead of cached.
_MAX_CACHED_RUNS = 100


def init_app(app: Flask, settings: Settings) -> None:
    """Register the interface."""
    app.extensions[_PSEUDONYMIZER] = Pseudonymizer(settings.pseudonym_secret)
    app.register_blueprint(bp, url_prefix=settings.server_url_prefix)


def _is_cached(query: Mapping[str, str]) -> bool:
    what = query.get("what")
    if what != "get_runs":
        return what in _CACHED
    first, last = (query_args.parse_integer(query.get(name, "")) for name in ("from", "to"))
    return first is not None and last is not None and abs(first - last) < _MAX_CACHED_RUNS


@bp.get("/api")
@cached_view_if(_is_cached)
@limited_as(RequestKind.RUN_RANGE, lambda query: query.get("what") in _RUN_RANGES)
def api() -> BaseResponse:
    """Response to `what`."""
    what = query_args.text("what") or ""
    respond = _RESPONSES.get(what)
    if respond is None:
        raise NotFound(f"{what} is not supported")
    access_log.current_record().route = f"/api?what={what}"
    return respond()


def _get_info() -> Response:
    span = _reader().runs.span()
    return _json([span.lowest, span.highest])


def _get_run() -> Response:
    reader = _reader()
    number = _required("run", _RUN_REFUSAL)
    adjacent, run = reader.runs.adjacent(number), reader.runs.get(number)
    if run is None:
        return _json([[adjacent.previous, adjacent.next], [[], []]])
    now = datetime.now(UTC)
    if run.jobs:
        expire_at(min(_next_second(job, now) for job in run.jobs))
    jobs = [_job(job, now) for job in run.jobs]
    return _json([[adjacent.previous, adjacent.next], [_description(run), jobs]])


def _get_graph() -> Response:
    reader = _reader()
    delivery = reader.deliveries.get(_required("run", _RUN_REFUSAL))
    if delivery is not None and delivery.is_damaged:
        raise NotFound(DELIVERY_DAMAGED)
    return _json([] if delivery is None else _graph(delivery))


def _get_runs() -> Response:
    reader = _reader()
    first, last = _range(_RUNS_REFUSAL)
    bad_only = bool(query_args.integer("bad_only", _RUNS_REFUSAL))
    with_ls = bool(query_args.integer("ls", _RUNS_REFUSAL))

    def is_included(job: ListedJob) -> bool:
        return not (bad_only and job.exit_code == 0) and not (with_ls and (job.lumisection or 0) <= 0)

    if last - first < _MAX_CACHED_RUNS:
        content = b"".join(_runs(reader.run_listing.read_range(first, last), is_included))
        return etag_response(content, "application/json")
    return streamed(
        _chunks(_runs(reader.run_listing.iter_range(first, last), is_included)), "application/json"
    )


def _get_clients() -> Response:
    reader = _reader()
    clients = reader.runs.clients(*_range(_RANGE_REFUSAL))
    return _json([client for client in clients if client not in _NO_CLIENTS])


def _get_logs() -> BaseResponse:
    reader = _reader()
    legacy_id = LegacyJobId.parse(query_args.unchecked_text("id").strip().rstrip(query_args.AFTER_ADDRESS))
    if legacy_id is not None:
        return _redirect_to_job(reader, legacy_id)
    job = query_args.job_id("id")
    details = None if job is None else reader.jobs.details(job)
    if details is None:
        raise NotFound(_NO_JOB)
    page = _LOG_PAGE.format(client=details.job.name, run=details.job.run, text=_log_text(details))
    return etag_response(page)


def _log_text(details: JobDetails) -> str:
    if not details.is_retained:
        return _LOG_DELETED
    return f"[{LOG_DAMAGED}]" if details.is_log_damaged else full_text(details.log)


def _redirect_to_job(reader: MirrorReader, legacy_id: LegacyJobId) -> BaseResponse:
    """Redirect to the log of a job.

    Every host, known or not, has the same work done and gets the same response, so that no host is revealed.
    """
    cluster = query_args.cluster("db")
    pseudonymizer: Pseudonymizer = current_app.extensions[_PSEUDONYMIZER]
    job = pseudonymizer.for_document(legacy_id.host, legacy_id.text)
    if reader.jobs.details(job) is None:
        raise RunItemNotFound(_NO_JOB, cluster, legacy_id.run)
    return redirect(url_for("job.page", job=job, db=cluster, _anchor="log"))


def _get_cluster_status() -> Response:
    cluster = query_args.cluster("cluster", default=Cluster.PLAYBACK)
    return _json([_status(status) for status in databases.cached_reader(cluster).cluster.machine_statuses()])


_RESPONSES: dict[str, Callable[[], BaseResponse]] = {
    "get_info": _get_info,
    "get_run": _get_run,
    "get_graph": _get_graph,
    "get_runs": _get_runs,
    "get_clients": _get_clients,
    "get_logs": _get_logs,
    "get_cluster_status": _get_cluster_status,
}


def _reader() -> MirrorReader:
    return databases.cached_reader(query_args.cluster("db"))


def _required(name: str, refusal: str) -> int:
    number = query_args.integer(name, refusal)
    if number is None:
        raise BadRequest(refusal)
    return number


def _range(refusal: str) -> tuple[int, int]:
    """Lower and higher value of `from` and `to`, which may come in either order."""
    first, last = sorted((_required("from", refusal), _required("to", refusal)))
    return first, last


def _json(value: Any) -> Response:
    return etag_response(orjson.dumps(value), "application/json")


def _description(run: Run) -> list[str]:
    return [run.cmssw_version or "", run.run_key or ""]


def _next_second(job: Job, now: datetime) -> datetime:
    """The time at which the number of seconds since a job's report increases."""
    return now + _SECOND - (now - job.updated_at) % _SECOND


def _job(job: Job, now: datetime) -> list[Any]:
    return [
        unix_ms(job.updated_at),
        max(0, int((now - job.updated_at).total_seconds())),
        job.machine,
        job.exit_code,
        job.name,
        _number(job.lumisection),
        "" if job.rss_kb is None else f"{job.rss_kb} kB",
        _number(job.events_total),
        str(job.id),
        _number(job.events_rate),
    ]


def _graph(delivery: Delivery) -> list[Any]:
    start = delivery.global_start
    return [
        delivery.run,
        delivery.revision,
        str(delivery.id),
        delivery.updated_at.timestamp(),
        -1 if start is None else start.timestamp(),
        {stream.name: _stream(stream) for stream in delivery.streams},
        delivery.machine,
    ]


def _stream(stream: Stream) -> dict[str, list[Any]]:
    return {
        "lumis": list(stream.lumisections),
        "mtimes": [time_ms / 1000 for time_ms in stream.mtimes_ms],
        "ctimes": [time_ms / 1000 for time_ms in stream.ctimes_ms],
        "evt_accepted": list(stream.events_accepted),
        "evt_processed": list(stream.events_processed),
        "fsize": list(stream.sizes_bytes),
    }


def _runs(runs: Iterable[ListedRun], is_included: Callable[[ListedJob], bool]) -> Iterator[bytes]:
    """JSON object of runs, one run at a time."""
    separator = b"{"
    for run in runs:
        jobs = [job for job in run.jobs if is_included(job)]
        if jobs:
            yield separator + b'"%d":' % run.run + orjson.dumps(_range_run(run, jobs))
            separator = b","
    yield b"{}" if separator == b"{" else b"}"


def _range_run(run: ListedRun, jobs: Iterable[ListedJob]) -> dict[str, Any]:
    clients: dict[str, list[Any]] = {}
    # Unpacked at once: a range has thousands of jobs.
    for _, client, _, machine, updated_at, exit_code, _, lumisection, events_total, fi_state in jobs:
        values = [
            machine,
            _number(events_total),
            _number(lumisection),
            # A text, since DQM² reports it as one.
            "" if fi_state is None else str(fi_state),
            exit_code,
            # In UTC, written by the serializer in ISO format.
            updated_at,
        ]
        clients.setdefault(client_name(client), []).append(values)
    run_data = [_number(run.cmssw_run), run.run_key or "", run.cmssw_version or ""]
    return {"run_data": run_data, "clients": clients}


def _chunks(parts: Iterator[bytes]) -> Generator[bytes]:
    """The same bytes in chunks of a size that is worth sending."""
    chunk = bytearray()
    for part in parts:
        chunk += part
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def _status(status: MachineStatus) -> list[Any]:
    return [status.machine, status.is_up, status.reason, math.floor(status.checked_at.timestamp())]


def _number(value: float | None) -> float:
    return -1 if value is None or not math.isfinite(value) else value
