"""When something is due again: after its usual pause, or after ever longer ones while it fails."""

import math
import random
import time
from dataclasses import dataclass

# Pauses are longer by up to so much of themselves, lest all that fail together are asked together ever after.
_JITTER = 0.2
NEVER_S = math.inf


@dataclass
class Turn:
    """The turn of one thing among others. Pauses in seconds; it is due at once at first."""

    usual_s: float
    first_s: float
    longest_s: float
    failures: int = 0
    taken_at: float = -math.inf
    _due_at: float = -math.inf

    def is_due(self) -> bool:
        """Whether its time has come."""
        return time.monotonic() >= self._due_at

    def take(self) -> None:
        """Its turn begins."""
        self.taken_at = time.monotonic()

    def worked(self) -> None:
        """It is due after the usual pause."""
        self.failures = 0
        self._due_at = time.monotonic() + self.usual_s

    def failed(self) -> None:
        """It is due after a pause that doubles with each failure in a row, up to the longest."""
        pause_s = min(self.longest_s, self.first_s * 2 ** min(self.failures, 16))
        self.failures += 1
        self._due_at = time.monotonic() + pause_s * random.uniform(1, 1 + _JITTER)  # noqa: S311

    def forgive(self) -> None:
        """It is due at once: what it failed at was not its own."""
        self.failures = 0
        self._due_at = -math.inf
