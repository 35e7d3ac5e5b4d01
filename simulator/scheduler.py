"""Event scheduler with a clock that is moved forward explicitly.

The standard library's `sched` runs until its queue is empty; here periodic events keep it filled forever.
"""

import heapq
import itertools
from collections.abc import Callable

# Called with the time at which the event runs.
Event = Callable[[float], object]


class EventScheduler:
    """Events ordered by time, in unix seconds. Not thread-safe."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._sequence = itertools.count()
        self._queue: list[tuple[float, int, Event]] = []

    def schedule(self, at: float, event: Event) -> None:
        """Run an event at a time, or as soon as possible if that time is past."""
        heapq.heappush(self._queue, (at, next(self._sequence), event))

    def repeat(self, at: float, interval_s: float, event: Event) -> None:
        """Run an event immediately, at the time `at`, and then at every interval."""
        event(at)
        self.schedule(at + interval_s, lambda now: self.repeat(now, interval_s, event))

    @property
    def next_at(self) -> float | None:
        """Time of the next event, `None` if there is none."""
        return self._queue[0][0] if self._queue else None

    def run_until(self, until: float) -> None:
        """Advance the clock and run the events that are due on the way, each at its own time."""
        while self._queue and self._queue[0][0] <= until:
            at, _, event = heapq.heappop(self._queue)
            self.now = max(self.now, at)
            event(self.now)
        self.now = max(self.now, until)
