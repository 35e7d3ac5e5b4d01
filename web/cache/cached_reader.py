"""Cached reader: reads again only what has changed, once for all threads.

During an outage of the database it can serve the last known data, for pages that say so.
"""

import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from cachetools import LRUCache

from storage.change_listener import ChangeTracker, RunsOutside, Topic, Topics
from storage.cluster_reader import ClusterReader
from storage.crash_reader import CrashReader
from storage.delivery_reader import DeliveryReader
from storage.efficiency_reader import EfficiencyReader
from storage.job_reader import JobReader
from storage.job_state import StateRules
from storage.log_dictionaries import DictionaryStore
from storage.log_search import LogSearchReader
from storage.mutes import MuteReader
from storage.playback_comparison_reader import PlaybackComparisonReader
from storage.read_models import JobDetails, Run, RunSpan, RunSummary
from storage.reader import MirrorReader
from storage.run_figures import RunFigures, RunFiguresReader
from storage.run_listing import RunListingReader
from storage.run_queries import RunFilter
from storage.run_reader import RunReader
from storage.run_summaries import RunSummariesReader
from storage.shift_reader import ShiftReader
from storage.transitions import TransitionReader
from web import outdated
from web.cache import dependencies
from web.cache.dependencies import ReadDependency
from web.errors import DatabaseUnavailable, QueryFailed

T = TypeVar("T")
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


def _none(*_: object, **__: object) -> None:
    return None


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


def _run_alone(_value: object, number: int) -> Topics:
    return (number,)


def _range_of_runs(_value: object, first: int, last: int) -> Topics:
    return range(first, last + 1)


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


@dataclass(frozen=True, slots=True)
class _Policy:
    """The way in which the results of a method are cached.

    `topics`: those that a result depends on, or a function of the result and the arguments. `expires_at`: the
    time at which it changes by the clock, a function of the result. `key`: identifies a result, a function of
    the arguments; `None` for a result that is not kept.
    """

    topics: Topics | Callable[..., Topics]
    expires_at: Callable[[Any], datetime | None] = _none
    max_entries: int = _MAX_ENTRIES
    key: Callable[..., Hashable | None] = _all_arguments


# `None`: the result is too large to be cached.
_POLICIES: Mapping[Callable[..., Any], _Policy | None] = {
    RunReader.span: _Policy((Topic.RUNS,)),
    RunReader.span_between: _Policy(_runs_outside),
    RunReader.adjacent: _Policy((Topic.RUNS,)),
    RunReader.has: _Policy(_run_alone),
    RunReader.get: _Policy(_run_topics, expires_at=_run_expires_at, max_entries=_MAX_RUNS),
    RunReader.expected_clients: _Policy(_runs_before),
    RunReader.expected_clients_of: _Policy((Topic.BATCHES,), key=_none),
    RunReader.skipped_lumisections: _Policy(lambda _value, run, _clients: (run,)),
    RunReader.find: _Policy(
        (Topic.BATCHES,), expires_at=_runs_expire_at, max_entries=_MAX_LARGE, key=_first_page
    ),
    RunReader.found_span: _Policy(_span_topics),
    RunReader.clients: _Policy(_range_of_runs),
    RunReader.run_keys: _Policy((Topic.BATCHES,)),
    RunReader.cmssw_versions: _Policy((Topic.BATCHES,)),
    RunSummariesReader.find: _Policy(
        (Topic.BATCHES,), expires_at=_runs_expire_at, max_entries=_MAX_LARGE, key=_first_page
    ),
    RunFiguresReader.find: _Policy(
        (Topic.BATCHES,), expires_at=_runs_expire_at, max_entries=_MAX_LARGE, key=_first_page
    ),
    RunListingReader.iter_range: None,
    # Large, and contained in the response that is made from it.
    RunListingReader.read_range: _Policy(_range_of_runs, key=_none),
    JobReader.details: _Policy(_job_topics, expires_at=_job_expires_at, max_entries=_MAX_JOBS),
    JobReader.log: _Policy((Topic.BATCHES,), max_entries=_MAX_LARGE),
    JobReader.usual_errors: _Policy(_runs_before),
    JobReader.client_history: _Policy(_history_topics, expires_at=_runs_expire_at, max_entries=_MAX_JOBS),
    JobReader.previous: _Policy(_runs_before),
    LogSearchReader.search: _Policy((Topic.BATCHES,), max_entries=_MAX_LARGE),
    DeliveryReader.get: _Policy(_run_alone, max_entries=_MAX_LARGE),
    DeliveryReader.statistics: _Policy(lambda _value, runs: tuple(runs), key=tuple),
    DeliveryReader.updated_at: _Policy(_run_alone),
    DeliveryReader.playback: _Policy(_run_alone),
    ClusterReader.machine_statuses: _Policy((Topic.LINKS,)),
    ClusterReader.state_changes: _Policy((Topic.LINKS,), key=_span_of_changes),
    ClusterReader.state_changes_between: _Policy((Topic.LINKS,)),
    ClusterReader.machines: _Policy((Topic.LINKS, Topic.BATCHES)),
    ClusterReader.dropped_fields: _Policy((Topic.BATCHES,)),
    ClusterReader.sync_status: _Policy((Topic.LINKS,)),
    CrashReader.find_groups: _Policy((Topic.BATCHES,), max_entries=_MAX_JOBS),
    CrashReader.group: _Policy((Topic.BATCHES,), max_entries=_MAX_JOBS),
    CrashReader.groups_of_client: _Policy((Topic.BATCHES,)),
    CrashReader.jobs: _Policy((Topic.BATCHES,), max_entries=_MAX_LARGE),
    CrashReader.client_run_count: _Policy((Topic.BATCHES,)),
    # A crash of an earlier run may be reported late.
    CrashReader.occurrences_in: _Policy((Topic.BATCHES,)),
    CrashReader.occurrences: _Policy((Topic.BATCHES,)),
    # A new mute is announced as if anything had changed.
    MuteReader.in_force: _Policy(()),
    MuteReader.between: _Policy(()),
    # Transitions are written with batches, machine states and heartbeats.
    TransitionReader.after: _Policy((Topic.BATCHES, Topic.LINKS), max_entries=_MAX_JOBS),
    TransitionReader.newest_id: _Policy((Topic.BATCHES, Topic.LINKS)),
    ShiftReader.data_path_problems: _Policy((Topic.BATCHES, Topic.LINKS)),
    ShiftReader.transitions_known_since: _Policy((Topic.BATCHES, Topic.LINKS)),
    ShiftReader.stuck_clients: _Policy((Topic.BATCHES, Topic.LINKS)),
    ShiftReader.runs: _Policy((Topic.BATCHES,), expires_at=_runs_expire_at, key=_none),
    # Commands are not announced.
    ShiftReader.control_changes: _Policy((), expires_at=_shortly),
    PlaybackComparisonReader.reference_run: _Policy((Topic.BATCHES,)),
    PlaybackComparisonReader.client_performance: _Policy(
        lambda _value, run, *others: (run, *others, Topic.BATCHES), max_entries=_MAX_JOBS
    ),
    EfficiencyReader.counted_runs: _Policy((Topic.BATCHES,)),
    # Runs that are over change rarely, and are many.
    EfficiencyReader.of_clients: _Policy((Topic.RUNS,), expires_at=_in_a_minute, max_entries=_MAX_RUNS),
}


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of a reader's method; `key` identifies its result among those of the method, if it is kept."""

    method: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    policy: _Policy
    key: Hashable | None

    @property
    def name(self) -> str:
        """The name of the method and of its class."""
        return self.method.__qualname__

    def read(self) -> Any:
        """Read the result."""
        return self.method(*self.arguments, **self.options)

    def topics(self, value: Any) -> Topics:
        """The topics that the result depends on."""
        topics = self.policy.topics
        return topics(value, *self.arguments, **self.options) if callable(topics) else topics


class CachedReader(MirrorReader):
    """Reader of a cluster by way of a cache; `require_available` raises DatabaseUnavailable.

    `stale_ok`: during an outage, and if a query fails, the last known data are better than none.
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
        readers = {type(reader).__name__: reader for reader in vars(self).values()}
        for method, policy in _POLICIES.items():
            class_name, name = method.__qualname__.split(".")
            reader = readers[class_name]
            setattr(reader, name, self._cached(getattr(reader, name), policy))

    def _cached(self, method: Callable[..., Any], policy: _Policy | None) -> Callable[..., Any]:
        """A method of a reader by way of the cache."""
        name = method.__qualname__

        @wraps(method)
        def cached(*arguments: Any, **options: Any) -> Any:
            if policy is None:
                self._require_available()
                return method(*arguments, **options)
            key = policy.key(*arguments, **options)
            result = None if key is None else self._cache.get(name, key)
            if result is None or not result.dependency.is_valid(time.monotonic()):
                result = self._renew(result, _Call(method, arguments, options, policy, key))
            dependencies.depend_on(result.dependency)
            return result.value

        return cached

    def _renew(self, kept: CachedRead | None, call: _Call) -> CachedRead:
        """Read again, or use what is kept if the database is unavailable or the query fails."""
        if kept is None or not self._stale_ok:
            return self._refresh(call)
        # The page takes the time of one slow query, not of several. Other failures take no time.
        failure: QueryFailed | None = outdated.slow_query()
        if failure is None:
            try:
                return self._refresh(call)
            except QueryFailed as error:
                failure = error
            except DatabaseUnavailable:
                pass
        if failure is not None:
            outdated.use(failure, time.monotonic() - kept.dependency.read_at_s)
        dependencies.expire_soon()
        return kept

    def _refresh(self, call: _Call) -> CachedRead:
        """Read, or wait for the thread that is reading; a read that started before this call is too old."""
        key = call.key
        if key is None:
            return self._read(call)
        version = self._cache.changes.version

        def read_once() -> CachedRead:
            # Another thread may have read it since this one has looked.
            found = self._cache.get(call.name, key)
            if found is not None and _is_valid_since(version, found.dependency):
                return found
            result = self._read(call)
            self._cache.put(call.name, key, result, call.policy.max_entries)
            return result

        while True:
            result = self._cache.flights.call((call.name, key), read_once)
            if result.dependency.version >= version:
                return result

    def _read(self, call: _Call) -> CachedRead:
        self._require_available()
        changes, read_at_s = self._cache.changes, time.monotonic()
        # Read first: the result may lack changes made meanwhile.
        version = changes.version
        with dependencies.cached_read():
            value = call.read()
        expires_at = call.policy.expires_at(value)
        expires_at_s = math.inf if expires_at is None else dependencies.monotonic_s(expires_at)
        return CachedRead(
            value, ReadDependency(changes, version, read_at_s, call.topics(value), expires_at_s)
        )
