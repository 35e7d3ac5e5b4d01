"""What happens when: actions in the order of their times, run as a clock goes on."""

import heapq
import itertools
from collections.abc import Callable

Action = Callable[[float], None]


class Agenda:
    """Actions to come, by unix seconds. Not for use by several threads at once."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._order = itertools.count()
        self._entries: list[tuple[float, int, Action]] = []

    def add(self, at: float, action: Action) -> None:
        """Runs an action at a time, or as soon as possible if that is past."""
        heapq.heappush(self._entries, (at, next(self._order), action))

    @property
    def next_at(self) -> float | None:
        """When the next action is due, `None` if there is none."""
        return self._entries[0][0] if self._entries else None

    def run_until(self, until: float) -> None:
        """Lets the clock go on to a time and runs what is due by then, each at its own time."""
        while self._entries and self._entries[0][0] <= until:
            at, _, action = heapq.heappop(self._entries)
            self.now = max(self.now, at)
            action(self.now)
        self.now = max(self.now, until)
