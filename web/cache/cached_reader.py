"""A reader that remembers: what was read is read again only once it has changed, by one thread for all.

While the database is away it can give what it last read, for pages that say so.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa

from storage.change_tracker import ChangeTracker, Topic
from storage.delivery_statistics import DeliveryStatistics
from storage.mutes import Mute
from storage.read_models import (
    AdjacentRuns,
    Delivery,
    JobDetails,
    Machine,
    MachineStatus,
    Playback,
    Run,
    RunSpan,
    RunSummary,
    StateChange,
    SyncStatus,
)
from storage.reader import MirrorReader
from storage.run_queries import RunFilter
from web.away import DatabaseAway
from web.cache import dependencies
from web.cache.dependencies import Reading
from web.cache.single_flight import Flights

T = TypeVar("T")
Topics = Collection[Topic | int]

# How many of a kind are remembered, those used last; of the large ones few.
_USUALLY = 64
_MOST: Mapping[str, int] = {
    "run": 24,
    "details": 8,
    "delivery": 2,
    "find_runs": 2,
    "further find_runs": 0,
    "outlines": 2,
    "further outlines": 0,
}


@dataclass(frozen=True, slots=True)
class Remembered:
    """Something that was read, and what that stands on."""

    value: Any
    reading: Reading


class Memory:
    """What was read of a cluster, by kind and by what was asked for."""

    def __init__(self, changes: ChangeTracker) -> None:
        self.changes = changes
        self.flights: Flights[Remembered] = Flights()
        self._kinds: dict[str, OrderedDict[Hashable, Remembered]] = {}
        self._lock = threading.Lock()

    def get(self, kind: str, asked: Hashable) -> Remembered | None:
        """What was last read, whether it still holds or not."""
        with self._lock:
            of_kind = self._kinds.get(kind, OrderedDict())
            if asked in of_kind:
                of_kind.move_to_end(asked)
            return of_kind.get(asked)

    def put(self, kind: str, asked: Hashable, remembered: Remembered) -> None:
        """Remembers it in place of what was used longest ago."""
        with self._lock:
            of_kind = self._kinds.setdefault(kind, OrderedDict())
            of_kind[asked] = remembered
            of_kind.move_to_end(asked)
            while len(of_kind) > _MOST.get(kind, _USUALLY):
                of_kind.popitem(last=False)


class KeptReader(MirrorReader):
    """Reads by way of a memory; `refuse_away` raises DatabaseAway, at once where that is known.

    `gives_old`: while the database is away, what was last read is better than nothing.
    """

    def __init__(
        self,
        database: sa.Engine,
        stuck_after: timedelta,
        memory: Memory,
        refuse_away: Callable[[], None],
        *,
        gives_old: bool,
    ) -> None:
        super().__init__(database, stuck_after)
        self._memory = memory
        self._refuse_away = refuse_away
        self._gives_old = gives_old

    def run_span(self) -> RunSpan:
        """The lowest and the highest run."""
        return self._kept("run_span", (), super().run_span, lambda _: (Topic.RUNS,))

    def adjacent_runs(self, run: int) -> AdjacentRuns:
        """The runs before and after `run`."""
        read = super().adjacent_runs
        return self._kept("neighbours", run, lambda: read(run), lambda _: (Topic.RUNS,))

    def run(self, run: int) -> Run | None:
        """A run with its jobs; `None` if nothing of it is mirrored."""
        read = super().run
        return self._kept("run", run, lambda: read(run), lambda found: _of_run(run, found))

    def expected_clients(self, run: int, run_key: str) -> frozenset[str]:
        """The clients of the last run before `run` with this run key."""
        read = super().expected_clients
        asked = (run, run_key)
        return self._kept("clients_before", asked, lambda: read(run, run_key), lambda _: (Topic.BATCHES,))

    def job_details(self, job: UUID) -> JobDetails | None:
        """A job with its series and its log; `None` if there is none of that id."""
        read = super().job_details
        return self._kept("details", job, lambda: read(job), _of_job)

    def delivery(self, run: int) -> Delivery | None:
        """The file delivery of a run."""
        read = super().delivery
        return self._kept("delivery", run, lambda: read(run), lambda _: (run,))

    def delivery_statistics(self, runs: Sequence[int]) -> dict[int, DeliveryStatistics]:
        """The file delivery of some runs in numbers."""
        read, asked = super().delivery_statistics, tuple(runs)
        return self._kept("delivery_numbers", asked, lambda: read(asked), lambda _: asked)

    def delivery_updated_at(self, run: int) -> datetime | None:
        """When what `delivery` answers was reported."""
        read = super().delivery_updated_at
        return self._kept("delivery_updated_at", run, lambda: read(run), lambda _: (run,))

    def playback(self, run: int) -> Playback | None:
        """The simulator of a run."""
        read = super().playback
        return self._kept("playback", run, lambda: read(run), lambda _: (run,))

    def cluster_status(self) -> list[MachineStatus]:
        """The machines that the cluster's status last spoke of."""
        return self._kept("cluster_status", (), super().cluster_status, lambda _: (Topic.LINKS,))

    def state_changes(self, since: datetime) -> list[StateChange]:
        """When machines went up or down from `since` on, and the last change before; or more than that.

        What was read for an earlier moment has it too, and is all there is while the database is away.
        """
        read = super().state_changes
        return self._kept("state_changes", (), lambda: read(since), lambda _: (Topic.LINKS,))

    def machines(self) -> list[Machine]:
        """The machines that are mirrored, with their resources."""
        return self._kept("machines", (), super().machines, lambda _: (Topic.LINKS, Topic.BATCHES))

    def sync_status(self) -> SyncStatus | None:
        """How fresh the mirror is."""
        return self._kept("freshness", (), super().sync_status, lambda _: (Topic.LINKS,))

    def mutes(self) -> list[Mute]:
        """The mutes that go on; a new one is told as if anything had changed."""
        return self._kept("mutes", (), super().mutes, lambda _: ())

    def runs(self, first: int, last: int) -> Iterator[Run]:
        """The runs from `first` to `last`, ascending; they are too many to be remembered."""
        self._refuse_away()
        return super().runs(first, last)

    def find_runs(self, run_filter: RunFilter, *, below: int | None, limit: int) -> list[Run]:
        """The newest runs that a search finds; those further down are not remembered."""
        read = super().find_runs
        return self._found(
            "find_runs", (run_filter, below, limit), lambda: read(run_filter, below=below, limit=limit)
        )

    def run_summaries(self, run_filter: RunFilter, *, below: int | None, limit: int) -> list[RunSummary]:
        """The newest runs that a search finds, in outline; those further down are not remembered."""
        read = super().run_summaries
        return self._found(
            "outlines", (run_filter, below, limit), lambda: read(run_filter, below=below, limit=limit)
        )

    def count_runs(self, run_filter: RunFilter) -> int:
        """How many runs a search finds."""
        read = super().count_runs
        return self._kept("count_runs", run_filter, lambda: read(run_filter), lambda _: (Topic.BATCHES,))

    def clients(self, first: int, last: int) -> list[str]:
        """The names of the clients of the runs from `first` to `last`."""
        read = super().clients
        asked = (first, last)
        return self._kept("clients", asked, lambda: read(first, last), lambda _: (Topic.BATCHES,))

    def _found(self, kind: str, asked: tuple[RunFilter, int | None, int], read: Callable[[], T]) -> T:
        _search, below, _most = asked
        kind = kind if below is None else f"further {kind}"
        return self._kept(kind, asked, read, lambda _: (Topic.BATCHES,))

    def _kept(self, kind: str, asked: Hashable, read: Callable[[], T], topics: Callable[[T], Topics]) -> T:
        remembered = self._memory.get(kind, asked)
        if remembered is None or not remembered.reading.holds(time.monotonic()):
            try:
                remembered = self._again(kind, asked, read, topics)
            except DatabaseAway:
                if remembered is None or not self._gives_old:
                    raise
                dependencies.for_a_moment()
        dependencies.stand_on(remembered.reading)
        value: T = remembered.value
        return value

    def _again(
        self, kind: str, asked: Hashable, read: Callable[[], T], topics: Callable[[T], Topics]
    ) -> Remembered:
        """Reads it, or waits for who is reading it; a reading that began before now is too old."""
        count = self._memory.changes.version

        def read_once() -> Remembered:
            # Another may have read it since this request has looked.
            found = self._memory.get(kind, asked)
            if found is not None and found.reading.count >= count and found.reading.holds(time.monotonic()):
                return found
            remembered = self._read(read, topics)
            self._memory.put(kind, asked, remembered)
            return remembered

        while True:
            remembered = self._memory.flights.share((kind, asked), read_once)
            if remembered.reading.count >= count:
                return remembered

    def _read(self, read: Callable[[], T], topics: Callable[[T], Topics]) -> Remembered:
        self._refuse_away()
        changes, at_s = self._memory.changes, time.monotonic()
        # Counted before: what changes meanwhile may not be in what is read.
        count = changes.version
        with dependencies.watched():
            value = read()
        reading = Reading(changes, count, at_s, topics(value))
        return Remembered(value, reading)


def _of_run(number: int, run: Run | None) -> Topics:
    """A run whose jobs run may change with the clocks of their machines."""
    return (number,) if run is None or run.is_final else (number, Topic.BATCHES)


def _of_job(details: JobDetails | None) -> Topics:
    if details is None:
        return (Topic.BATCHES,)
    run = details.job.run
    return (run,) if details.job.state.is_terminal else (run, Topic.BATCHES)
