"""The end of the grid certificate, told in time: by log and metric, and by the heartbeat to the pages."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dqm2 import credentials
from dqmsquare_cfg import Cluster
from grabbing import metrics
from storage.sync_status import CERTIFICATE_WARNING_PERIOD

log = logging.getLogger(__name__)

_WARN_EVERY = timedelta(days=1)


class CertificateWatch:
    """Reads the certificate's file whenever it has changed, so that a renewed one is noticed at once."""

    def __init__(self, path: Path, cluster: Cluster) -> None:
        self._path = path
        self._cluster = cluster.value
        self._read_of: tuple[int, int] | None = None
        self._ends_at: datetime | None = None
        self._warned_at: datetime | None = None

    def ends_at(self) -> datetime | None:
        """When the certificate ends; None where it can't be read, which DQM²'s client tells of."""
        read_of = self._file_state()
        if read_of != self._read_of:
            self._read_of, self._warned_at = read_of, None
            self._ends_at = self._read()
            if self._ends_at is not None:
                metrics.certificate_expiry_timestamp.labels(self._cluster).set(self._ends_at.timestamp())
        self._warn(datetime.now(UTC))
        return self._ends_at

    def _file_state(self) -> tuple[int, int] | None:
        try:
            state = self._path.stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns

    def _read(self) -> datetime | None:
        try:
            return credentials.certificate_expiry(self._path)
        except (OSError, ValueError):
            return None

    def _warn(self, now: datetime) -> None:
        if self._ends_at is None or self._ends_at - now > CERTIFICATE_WARNING_PERIOD:
            return
        if self._warned_at is None or now - self._warned_at > _WARN_EVERY:
            self._warned_at = now
            log.warning(
                "the grid certificate ends cluster=%s at=%s days=%d: renew it in time",
                self._cluster,
                self._ends_at.isoformat(),
                (self._ends_at - now).days,
            )
