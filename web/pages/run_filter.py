"""The run filter that the timeline, the statistics and the crashes share, as URL parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from urllib.parse import urlencode

from werkzeug.exceptions import BadRequest

from dqmsquare_cfg import Cluster
from storage.reader import MirrorReader
from storage.run_queries import RunFilter
from web import databases, query_args
from web.cache import dependencies
from web.errors import DatabaseUnavailable
from web.pages import run_search
from web.pages.run_search import Period

INTEGER_ERROR = "below, bad_only and ls must be integers"
# Width of the range of run numbers up to the newest that is shown by default.
_DEFAULT_RANGE = 1000
_PARAMS = ("from", "to", "run_key", "version", "client", "bad_only", "ls")
# Conditions that are searched for in all runs unless a range is given.
_SEARCHES = ("run_key", "version", "client")
# Suggestions of a field; older releases are found by typing.
_MAX_SUGGESTIONS = 100

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunFilterParams:
    """A cluster, the filter parameters as they were given, by name, and the filter for its runs."""

    cluster: Cluster
    texts: Mapping[str, str]
    filter: RunFilter

    @property
    def query_string(self) -> str:
        """The query string of its URL."""
        return urlencode({"db": self.cluster, **self.texts})

    @property
    def unmatched(self) -> dict[str, str]:
        """The texts that no value of the cluster matches, by the name of the field."""
        found = {
            "run key": ("run_key", self.filter.run_keys),
            "CMSSW release": ("version", self.filter.cmssw_versions),
            "client": ("client", self.filter.clients),
        }
        return {field: self.texts[param] for field, (param, values) in found.items() if values == ()}

    @property
    def single_run(self) -> int | None:
        """The run, if the range contains one only."""
        return self.filter.first if self.filter.first == self.filter.last > 0 else None


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Values that fields of the filter suggest."""

    run_keys: list[str]
    releases: list[str]
    clients: list[str]


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The first and the last run, and times in place of one; `None` where nothing is given."""

    first: int | None
    last: int | None
    since: datetime | None
    until: datetime | None

    @property
    def has_time(self) -> bool:
        """Whether a time is given."""
        return self.since is not None or self.until is not None


def request_params(*, default_range: int | None = _DEFAULT_RANGE) -> RunFilterParams:
    """The filter of the current request. Raises BadRequest, DatabaseUnavailable.

    `default_range`: the width of the range of runs without any parameter; `None` for all runs.
    """
    cluster = query_args.page_cluster()
    reader = databases.stale_ok_reader(cluster)
    texts = {name: text for name in _PARAMS if (text := query_args.text(name)) is not None}
    bounds = _bounds(texts)
    is_search = any(name in texts for name in _SEARCHES)
    first, last = _range(reader, bounds, None if is_search else default_range)
    run_filter = RunFilter(
        first=first,
        last=last,
        crashed_only=bool(query_args.integer("bad_only", INTEGER_ERROR)),
        with_lumisections=bool(query_args.integer("ls", INTEGER_ERROR)),
        run_keys=_parsed(
            texts.get("run_key"), lambda text: run_search.matching(reader.runs.run_keys(), text)
        ),
        cmssw_versions=_parsed(
            texts.get("version"),
            lambda text: run_search.matching_releases(reader.runs.cmssw_versions(), text),
        ),
        clients=_parsed(
            texts.get("client"), lambda text: run_search.matching_clients(_clients(reader), text)
        ),
        since=bounds.since,
        until=bounds.until,
    )
    return RunFilterParams(cluster, texts, run_filter)


def suggestions(cluster: Cluster) -> Suggestions:
    """The run keys, the newest releases and the clients of a cluster."""
    reader = databases.stale_ok_reader(cluster)
    return Suggestions(reader.runs.run_keys(), _newest_releases(reader), _clients(reader))


def findable(cluster: Cluster) -> list[str]:
    """Suggestions of the field that finds a run: the run keys and the newest releases of a cluster."""
    reader = databases.stale_ok_reader(cluster)
    return reader.runs.run_keys() + _newest_releases(reader)


def other_cluster_with(cluster: Cluster, run: int | None) -> Cluster | None:
    """The other cluster if it has this run."""
    if run is None:
        return None
    [other] = set(Cluster) - {cluster}
    try:
        return other if databases.stale_ok_reader(other).runs.has(run) else None
    except DatabaseUnavailable:
        dependencies.expire_soon()
        return None


def _newest_releases(reader: MirrorReader) -> list[str]:
    versions = run_search.newest_first(reader.runs.cmssw_versions())[:_MAX_SUGGESTIONS]
    return [f"CMSSW_{version}" for version in versions]


def _clients(reader: MirrorReader) -> list[str]:
    return reader.runs.clients(0, reader.runs.span().highest or 0)


def _parsed(text: str | None, parse: Callable[[str], T]) -> T | None:
    return None if text is None else parse(text)


def _bounds(texts: Mapping[str, str]) -> _Bounds:
    """The bounds that are given. Raises BadRequest."""
    start, end = _bound(texts.get("from")), _bound(texts.get("to"))
    if isinstance(start, Period) and isinstance(end, Period) and end.until <= start.since:
        start, end = end, start
    return _Bounds(
        first=start if isinstance(start, int) else None,
        last=end if isinstance(end, int) else None,
        since=start.since if isinstance(start, Period) else None,
        until=end.until if isinstance(end, Period) else None,
    )


def _range(reader: MirrorReader, bounds: _Bounds, width: int | None) -> tuple[int, int]:
    """The ends of the range, the lower one first; if it is not given, `width` below the other, or run 0."""
    first, last = bounds.first, bounds.last
    if bounds.has_time:
        span = reader.runs.span_between(bounds.since, bounds.until)
        first = span.lowest or 0 if first is None else first
        last = span.highest if last is None else last
    if last is None:
        last = reader.runs.span().highest or 0
    if first is None:
        first = 0 if width is None else max(0, last - width)
    return min(first, last), max(first, last)


def _bound(text: str | None) -> int | Period | None:
    """A bound of the range: a run or a period. Raises BadRequest."""
    if text is None:
        return None
    bound = run_search.parse_period(text) or run_search.parse_run(text)
    if bound is None or (isinstance(bound, int) and bound > query_args.INT_MAX):
        raise BadRequest(f"from and to must be {run_search.RUN_OR_DAY}")
    return bound
