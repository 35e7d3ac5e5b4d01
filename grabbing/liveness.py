"""That a grabber's loop turns, and whether it has its cluster: what those who watch over it ask for.

A loop that hangs is found out from outside alone, so it is asked from other threads: by Kubernetes' probes
(`grabbing/health.py`), systemd's watchdog (`runtime/systemd_notify.py`) and Prometheus.
"""

import time

from dqmsquare_cfg import Cluster
from grabbing import metrics

# The longest that a loop which works may take for a turn: the database ends a statement after 30 s, and a
# long piece of work has the line look up every second. A restart that was not needed costs more than a late
# one.
STILL_AFTER_S = 180.0


class Pulse:
    """A grabber's pulse; still once the loop has not turned for `still_after_s`."""

    def __init__(self, cluster: Cluster, still_after_s: float = STILL_AFTER_S) -> None:
        self.cluster = cluster
        self._still_after_s = still_after_s
        self._turned_at: float | None = None
        self._has_cluster = False

    def turned(self) -> None:
        """The loop has turned, or is at a long piece of work that goes on."""
        self._turned_at = time.monotonic()
        metrics.loop_timestamp.labels(self.cluster.value).set_to_current_time()

    def took_cluster(self) -> None:
        """This grabber is now the one that mirrors the cluster."""
        self._has_cluster = True
        metrics.holds_cluster.labels(self.cluster.value).set(1)

    def gave_back(self) -> None:
        """It is no longer, or never was."""
        self._has_cluster = False
        metrics.holds_cluster.labels(self.cluster.value).set(0)

    def why_not_alive(self) -> str | None:
        """A sentence if the loop stands still, or has not turned yet; None while it turns."""
        if self._turned_at is None:
            return "The loop has not turned yet."
        silent_s = time.monotonic() - self._turned_at
        if silent_s > self._still_after_s:
            return f"The loop has not turned for {silent_s:.0f} s."
        return None

    def why_not_ready(self) -> str | None:
        """A sentence unless it is alive and mirrors its cluster, which takes a database of a known schema."""
        if not self._has_cluster:
            return f"It does not have the {self.cluster} cluster."
        return self.why_not_alive()
