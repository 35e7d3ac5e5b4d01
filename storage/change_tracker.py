"""What has changed in a cluster's mirror: what was read holds until something that it stands on changes.

Changes are counted up. Each topic knows at which count it last changed, so that whatever was read at a count
holds while all of its topics are at most that old.
"""

import threading
from collections.abc import Collection, Iterable
from enum import Enum, auto

# Runs that are told apart; beyond that all of them count as changed, which costs reading them once more.
_MOST_RUNS = 10_000


class Topic(Enum):
    """What can change besides a run, whose number is a topic of its own."""

    # Which runs there are.
    RUNS = auto()
    # Anything that is mirrored: the clocks of machines, by which jobs get stuck, move with each batch.
    BATCHES = auto()
    # What the grabber's heartbeat tells: each link, and the cluster's status.
    LINKS = auto()


class ChangeTracker:
    """Counts the changes of a cluster. `is_heard`: whether changes are being told; if not, nothing holds."""

    def __init__(self) -> None:
        self.version = 0
        self.is_listening = False
        self._all_at = 0
        self._at: dict[Topic | int, int] = {}
        self._runs: set[int] = set()
        self._lock = threading.Lock()

    def is_current(self, topics: Iterable[Topic | int], count: int) -> bool:
        """Whether none of the topics has changed since a count."""
        return self._all_at <= count and all(self._at.get(topic, 0) <= count for topic in topics)

    def record_batch(self, runs: Collection[int] | None) -> None:
        """A batch of these runs was written, `None`: of many."""
        if runs is None or len(self._runs) + len(runs) > _MOST_RUNS:
            self.invalidate_all()
            return
        with self._lock:
            self.version += 1
            topics: list[Topic | int] = [Topic.BATCHES, *runs]
            # One that was not heard of may have been there all the same.
            if not self._runs.issuperset(runs):
                topics.append(Topic.RUNS)
                self._runs.update(runs)
            self._at.update(dict.fromkeys(topics, self.version))

    def record_heartbeat(self) -> None:
        """The heartbeat told something else than before."""
        with self._lock:
            self.version += 1
            self._at[Topic.LINKS] = self.version

    def invalidate_all(self) -> None:
        """Anything may have changed."""
        with self._lock:
            self.version += 1
            self._all_at = self.version
            self._at.clear()
            self._runs.clear()
