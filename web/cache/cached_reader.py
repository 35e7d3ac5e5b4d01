"""Cached reader: reads again only what has changed, once for all threads.

During an outage of the database it can serve the last known data, for pages that say so.
"""

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import sqlalchemy as sa
from cachetools import LRUCache

from storage.change_listener import ChangeTracker, RunsOutside, Topic, Topics
from storage.job_state import StateRules
from storage.log_dictionaries import DictionaryStore
from storage.read_models import JobDetails, Run, RunSpan, RunSummary
from storage.reader import MirrorReader
from storage.run_figures import RunFigures
from storage.run_listing import ListedRun
from storage.run_queries import RunFilter
from web import outdated
from web.cache import dependencies
from web.cache.dependencies import ReadDependency
from web.errors import DatabaseTooSlow, DatabaseUnavailable

P = ParamSpec("P")
T = TypeVar("T")
# The topics that a result depends on, and the time at which it changes by the clock.
Validity = tuple[Topics, datetime | None]

# Results kept per method; fewer of those that are large.
_MAX_ENTRIES = 64
_MAX_RUNS, _MAX_JOBS, _MAX_LARGE = 8, 3, 1
# Results kept of what changes without a notification.
_UNANNOUNCED_LIFETIME = timedelta(seconds=5)
# Sums over many runs.
_SUMMARY_LIFETIME = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class CachedRead:
    """Result of a read and what it depends on."""

    value: Any
    dependency: ReadDependency


class SingleFlight(Generic[T]):
    """Calls in progress, by key: concurrent calls for the same key share one result."""

    def __init__(self) -> None:
        self._in_progress: dict[Hashable, Future[T]] = {}
        self._lock = threading.Lock()

    def call(self, key: Hashable, function: Callable[[], T]) -> T:
        """Result of `function`, or of the call in progress for this key; raises what that raises."""
        with self._lock:
            in_progress = self._in_progress.get(key)
            if in_progress is None:
                own = self._in_progress[key] = Future()
        if in_progress is not None:
            return in_progress.result()
        try:
            result = function()
        except BaseException as error:
            own.set_exception(error)
            raise
        else:
            own.set_result(result)
            return result
        finally:
            with self._lock:
                del self._in_progress[key]


class ReadCache:
    """Results of a cluster's reads, by method and arguments."""

    def __init__(self, changes: ChangeTracker) -> None:
        self.changes = changes
        self.flights: SingleFlight[CachedRead] = SingleFlight()
        self._results: dict[str, LRUCache[Hashable, CachedRead]] = {}
        self._lock = threading.Lock()

    def get(self, method: str, key: Hashable) -> CachedRead | None:
        """Last result, valid or not."""
        with self._lock:
            results = self._results.get(method)
            return None if results is None else results.get(key)

    def put(self, method: str, key: Hashable, result: CachedRead, max_entries: int) -> None:
        """Store a result, evicting the least recently used one if full."""
        with self._lock:
            self._results.setdefault(method, LRUCache(max_entries))[key] = result


def _all_arguments(*args: Any, **kwargs: Any) -> Hashable:
    return args, tuple(kwargs.items())


def _never(_value: object) -> None:
    return None


def _cached(
    read: Callable[Concatenate[MirrorReader, P], T],
    topics: Topics | Callable[..., Topics],
    *,
    expires_at: Callable[[T], datetime | None] = _never,
    max_entries: int = _MAX_ENTRIES,
    key: Callable[..., Hashable | None] = _all_arguments,
) -> Callable[Concatenate["CachedReader", P], T]:
    """Cached form of a reader's method.

    `topics`: those that its result depends on, or a function of the result and the arguments. `expires_at`:
    the time at which it changes by the clock, a function of the result. `key`: identifies a result, a
    function of the arguments; `None` for a result that is not kept.
    """

    def validity(value: T, *args: P.args, **kwargs: P.kwargs) -> Validity:
        return topics(value, *args, **kwargs) if callable(topics) else topics, expires_at(value)

    @wraps(read)
    def cached(reader: "CachedReader", /, *args: P.args, **kwargs: P.kwargs) -> T:
        value: T = reader.look_up(
            read.__name__,
            key(*args, **kwargs),
            max_entries,
            lambda: read(reader, *args, **kwargs),
            lambda value: validity(value, *args, **kwargs),
        )
        return value

    return cached


def _is_valid_since(version: int, read: ReadDependency) -> bool:
    return read.version >= version and read.is_valid(time.monotonic())


def _run_topics(run: Run | None, number: int) -> Topics:
    # A running job may get stuck by its machine's clock, which moves with each batch.
    return (number,) if run is None or run.is_final else (number, Topic.BATCHES)


def _job_topics(details: JobDetails | None, *_: object) -> Topics:
    if details is None:
        return (Topic.BATCHES,)
    run = details.job.run
    return (run,) if details.job.state.is_terminal else (run, Topic.BATCHES)


def _runs_before(_value: object, run: int, *_: object) -> Topics:
    # Any of them may get a job late.
    return range(run)


def _history_topics(runs: list[Run], run: int, *_: object) -> Topics:
    return _runs_before(runs, run) if all(each.is_final for each in runs) else (Topic.BATCHES,)


def _runs_outside(span: RunSpan, *_: object) -> Topics:
    # A job that any of them gets, also late, may widen the span.
    if span.lowest is None or span.highest is None:
        return (Topic.BATCHES,)
    return RunsOutside(span.lowest, span.highest)


def _span_topics(_value: object, run_filter: RunFilter) -> Topics:
    # PostgreSQL looks up all runs of the range, which may be all there are.
    return (Topic.RUNS,) if run_filter.matches_all else (Topic.BATCHES,)


def _run_expires_at(run: Run | None) -> datetime | None:
    return None if run is None else run.state_changes_at


def _job_expires_at(details: JobDetails | None) -> datetime | None:
    return None if details is None else details.job.lost_at


def _runs_expire_at(runs: Sequence[Run] | Sequence[RunSummary] | Sequence[RunFigures]) -> datetime | None:
    return min((at for run in runs if (at := run.state_changes_at) is not None), default=None)


def _not_kept(*_: object, **__: object) -> None:
    return None


def _run_alone(_value: object, number: int) -> Topics:
    return (number,)


def _span_of_changes(since: datetime, until: datetime | None = None) -> Hashable:
    # Without an end: read for an earlier time, the result covers a later one as well, and is all there is
    # during an outage.
    return () if until is None else (since, until)


def _first_page(run_filter: Hashable, *, below: int | None, limit: int) -> Hashable | None:
    return (run_filter, limit) if below is None else None


def _shortly(_value: object) -> datetime:
    return datetime.now(UTC) + _UNANNOUNCED_LIFETIME


def _in_a_minute(_value: object) -> datetime:
    return datetime.now(UTC) + _SUMMARY_LIFETIME


class CachedReader(MirrorReader):
    """Reader of a cluster by way of a cache; `require_available` raises DatabaseUnavailable.

    `stale_ok`: during an outage, and if a query takes too long, the last known data are better than none.
    Pages report both.
    """

    def __init__(
        self,
        database: sa.Engine,
        rules: StateRules,
        dictionaries: DictionaryStore,
        cache: ReadCache,
        require_available: Callable[[], None],
        *,
        stale_ok: bool,
    ) -> None:
        super().__init__(database, rules, dictionaries)
        self._cache = cache
        self._require_available = require_available
        self._stale_ok = stale_ok

    run_span = _cached(MirrorReader.run_span, (Topic.RUNS,))
    run_span_between = _cached(MirrorReader.run_span_between, _runs_outside)
    adjacent_runs = _cached(MirrorReader.adjacent_runs, (Topic.RUNS,))
    has_run = _cached(MirrorReader.has_run, _run_alone)
    run = _cached(MirrorReader.run, _run_topics, expires_at=_run_expires_at, max_entries=_MAX_RUNS)
    expected_clients = _cached(MirrorReader.expected_clients, _runs_before)
    expected_clients_of = _cached(MirrorReader.expected_clients_of, (Topic.BATCHES,), key=_not_kept)
    skipped_lumisections = _cached(MirrorReader.skipped_lumisections, lambda _value, run, _clients: (run,))
    job_details = _cached(
        MirrorReader.job_details, _job_topics, expires_at=_job_expires_at, max_entries=_MAX_JOBS
    )
    job_log = _cached(MirrorReader.job_log, (Topic.BATCHES,), max_entries=_MAX_LARGE)
    usual_errors = _cached(MirrorReader.usual_errors, _runs_before)
    client_history = _cached(
        MirrorReader.client_history, _history_topics, expires_at=_runs_expire_at, max_entries=_MAX_JOBS
    )
    previous_job = _cached(MirrorReader.previous_job, _runs_before)
    delivery = _cached(MirrorReader.delivery, _run_alone, max_entries=_MAX_LARGE)
    delivery_statistics = _cached(
        MirrorReader.delivery_statistics, lambda _value, runs: tuple(runs), key=tuple
    )
    delivery_updated_at = _cached(MirrorReader.delivery_updated_at, _run_alone)
    playback = _cached(MirrorReader.playback, _run_alone)
    cluster_status = _cached(MirrorReader.cluster_status, (Topic.LINKS,))
    state_changes = _cached(MirrorReader.state_changes, (Topic.LINKS,), key=_span_of_changes)
    machines = _cached(MirrorReader.machines, (Topic.LINKS, Topic.BATCHES))
    dropped_fields = _cached(MirrorReader.dropped_fields, (Topic.BATCHES,))
    sync_status = _cached(MirrorReader.sync_status, (Topic.LINKS,))
    find_crash_groups = _cached(MirrorReader.find_crash_groups, (Topic.BATCHES,), max_entries=_MAX_JOBS)
    crash_group = _cached(MirrorReader.crash_group, (Topic.BATCHES,), max_entries=_MAX_JOBS)
    crash_groups_of_client = _cached(MirrorReader.crash_groups_of_client, (Topic.BATCHES,))
    crashed_jobs = _cached(MirrorReader.crashed_jobs, (Topic.BATCHES,), max_entries=_MAX_LARGE)
    client_run_count = _cached(MirrorReader.client_run_count, (Topic.BATCHES,))
    search_logs = _cached(MirrorReader.search_logs, (Topic.BATCHES,), max_entries=_MAX_LARGE)
    # A crash of an earlier run may be reported late.
    crash_occurrences = _cached(MirrorReader.crash_occurrences, (Topic.BATCHES,))
    # Transitions are written with batches, machine states and heartbeats.
    transitions = _cached(MirrorReader.transitions, (Topic.BATCHES, Topic.LINKS), max_entries=_MAX_JOBS)
    newest_transition = _cached(MirrorReader.newest_transition, (Topic.BATCHES, Topic.LINKS))
    # A new mute is announced as if anything had changed.
    mutes = _cached(MirrorReader.mutes, ())
    mutes_between = _cached(MirrorReader.mutes_between, ())
    crash_occurrences_of = _cached(MirrorReader.crash_occurrences_of, (Topic.BATCHES,))
    runs_in_period = _cached(
        MirrorReader.runs_in_period, (Topic.BATCHES,), expires_at=_runs_expire_at, key=_not_kept
    )
    efficiency_range = _cached(MirrorReader.efficiency_range, (Topic.BATCHES,))
    # Runs that are over change rarely, and are many.
    efficiency = _cached(
        MirrorReader.efficiency, (Topic.RUNS,), expires_at=_in_a_minute, max_entries=_MAX_RUNS
    )
    reference_run = _cached(MirrorReader.reference_run, (Topic.BATCHES,))
    client_performance = _cached(
        MirrorReader.client_performance,
        lambda _value, run, *others: (run, *others, Topic.BATCHES),
        max_entries=_MAX_JOBS,
    )
    state_changes_between = _cached(MirrorReader.state_changes_between, (Topic.LINKS,))
    # Transitions are written with batches and heartbeats.
    data_path_problems = _cached(MirrorReader.data_path_problems, (Topic.BATCHES, Topic.LINKS))
    transitions_known_since = _cached(MirrorReader.transitions_known_since, (Topic.BATCHES, Topic.LINKS))
    stuck_clients = _cached(MirrorReader.stuck_clients, (Topic.BATCHES, Topic.LINKS))
    # Commands are not announced.
    control_changes = _cached(MirrorReader.control_changes, (), expires_at=_shortly)
    find_runs = _cached(
        MirrorReader.find_runs,
        (Topic.BATCHES,),
        expires_at=_runs_expire_at,
        max_entries=_MAX_LARGE,
        key=_first_page,
    )
    run_summaries = _cached(
        MirrorReader.run_summaries,
        (Topic.BATCHES,),
        expires_at=_runs_expire_at,
        max_entries=_MAX_LARGE,
        key=_first_page,
    )
    run_figures = _cached(
        MirrorReader.run_figures,
        (Topic.BATCHES,),
        expires_at=_runs_expire_at,
        max_entries=_MAX_LARGE,
        key=_first_page,
    )
    found_span = _cached(MirrorReader.found_span, _span_topics)
    clients = _cached(MirrorReader.clients, lambda _value, first, last: range(first, last + 1))
    run_keys = _cached(MirrorReader.run_keys, (Topic.BATCHES,))
    cmssw_versions = _cached(MirrorReader.cmssw_versions, (Topic.BATCHES,))
    # Large, and contained in the response that is made from it.
    list_runs_between = _cached(
        MirrorReader.list_runs_between, lambda _value, first, last: range(first, last + 1), key=_not_kept
    )

    def list_runs(self, first: int, last: int) -> Iterator[ListedRun]:
        """Runs from `first` to `last`, ascending; too many to be cached."""
        self._require_available()
        return super().list_runs(first, last)

    def look_up(
        self,
        method: str,
        key: Hashable | None,
        max_entries: int,
        read: Callable[[], T],
        validity: Callable[[T], Validity],
    ) -> T:
        """Cached result of a method if it is valid, else a new one."""
        result = None if key is None else self._cache.get(method, key)
        if result is None or not result.dependency.is_valid(time.monotonic()):
            result = self._renew(result, method, key, max_entries, read, validity)
        dependencies.depend_on(result.dependency)
        value: T = result.value
        return value

    def _renew(self, kept: CachedRead | None, *read: Any) -> CachedRead:
        """Read again, or use what is kept if the database is unavailable or too slow."""
        if kept is None or not self._stale_ok:
            return self._refresh(*read)
        # The page takes the time of one slow query, not of several.
        too_slow = outdated.reason()
        if too_slow is None:
            try:
                return self._refresh(*read)
            except DatabaseTooSlow as error:
                too_slow = error
            except DatabaseUnavailable:
                pass
        if too_slow is not None:
            outdated.use(too_slow, time.monotonic() - kept.dependency.read_at_s)
        dependencies.expire_soon()
        return kept

    def _refresh(
        self,
        method: str,
        key: Hashable | None,
        max_entries: int,
        read: Callable[[], T],
        validity: Callable[[T], Validity],
    ) -> CachedRead:
        """Read, or wait for the thread that is reading; a read that started before this call is too old."""
        if key is None:
            return self._read(read, validity)
        version = self._cache.changes.version

        def read_once() -> CachedRead:
            # Another thread may have read it since this one has looked.
            found = self._cache.get(method, key)
            if found is not None and _is_valid_since(version, found.dependency):
                return found
            result = self._read(read, validity)
            self._cache.put(method, key, result, max_entries)
            return result

        while True:
            result = self._cache.flights.call((method, key), read_once)
            if result.dependency.version >= version:
                return result

    def _read(self, read: Callable[[], T], validity: Callable[[T], Validity]) -> CachedRead:
        self._require_available()
        changes, read_at_s = self._cache.changes, time.monotonic()
        # Read first: the result may lack changes made meanwhile.
        version = changes.version
        with dependencies.cached_read():
            value = read()
        topics, expires_at = validity(value)
        expires_at_s = math.inf if expires_at is None else dependencies.monotonic_s(expires_at)
        return CachedRead(value, ReadDependency(changes, version, read_at_s, topics, expires_at_s))
