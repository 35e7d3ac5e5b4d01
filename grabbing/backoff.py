"""Exponential backoff: the time at which something that may fail is due again."""

import math
import random
import time
from dataclasses import dataclass

# Pauses are lengthened at random by up to this share, so that what failed together is not retried together.
_JITTER = 0.2
NEVER_S = math.inf


@dataclass
class Backoff:
    """Schedule of one repeated action; pauses in seconds. It is due at once at first."""

    interval_s: float
    first_pause_s: float
    max_pause_s: float
    failures: int = 0
    started_at_s: float = -math.inf
    _due_at_s: float = -math.inf

    def is_due(self) -> bool:
        """Whether the pause is over."""
        return time.monotonic() >= self._due_at_s

    def start(self) -> None:
        """Record the time of an attempt."""
        self.started_at_s = time.monotonic()

    def succeeded(self) -> None:
        """Schedule the next attempt after the usual interval."""
        self.failures = 0
        self._due_at_s = time.monotonic() + self.interval_s

    def failed(self, max_pause_s: float = NEVER_S) -> None:
        """Schedule the next attempt after a pause that doubles with each failure, up to a maximum."""
        pause_s = min(self.max_pause_s, max_pause_s, self.first_pause_s * 2 ** min(self.failures, 16))
        self.failures += 1
        self._due_at_s = time.monotonic() + pause_s * random.uniform(1, 1 + _JITTER)  # noqa: S311

    def reset(self) -> None:
        """Forget the failures; it is due at once."""
        self.failures = 0
        self._due_at_s = -math.inf
