"""Expiry of the grid certificate: a metric, a daily warning in the log, and the date for the heartbeat."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dqm2 import certificate
from dqmsquare_cfg import Cluster
from grabbing import metrics
from storage.sync_status import CERTIFICATE_WARNING_PERIOD

log = logging.getLogger(__name__)

_WARN_EVERY = timedelta(days=1)


class CertificateMonitor:
    """Reads the certificate file again whenever it has changed, so that a renewal is noticed at once."""

    def __init__(self, path: Path, cluster: Cluster) -> None:
        self._path = path
        self._cluster = cluster.value
        self._file_state: tuple[int, int] | None = None
        self._expires_at: datetime | None = None
        self._warned_at: datetime | None = None

    def expires_at(self) -> datetime | None:
        """The expiry of the certificate; None if it cannot be read, which the DQM² client reports."""
        file_state = self._stat()
        if file_state != self._file_state:
            self._file_state, self._warned_at = file_state, None
            self._expires_at = certificate.expires_at(self._path)
            if self._expires_at is not None:
                metrics.certificate_expiry_timestamp.labels(self._cluster).set(self._expires_at.timestamp())
        self._warn_if_due(datetime.now(UTC))
        return self._expires_at

    def _stat(self) -> tuple[int, int] | None:
        try:
            state = self._path.stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns

    def _warn_if_due(self, now: datetime) -> None:
        if self._expires_at is None or self._expires_at - now > CERTIFICATE_WARNING_PERIOD:
            return
        if self._warned_at is None or now - self._warned_at > _WARN_EVERY:
            self._warned_at = now
            log.warning(
                "certificate_expiring cluster=%s expires_at=%s days_left=%d",
                self._cluster,
                self._expires_at.isoformat(),
                (self._expires_at - now).days,
            )
