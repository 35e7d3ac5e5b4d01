"""Staleness of the data path, and validity of responses that depend on it."""

from datetime import datetime, timedelta

from flask import Flask, current_app

from dqmsquare_cfg import Settings
from storage.read_models import SyncStatus
from storage.sync_status import CERTIFICATE_WARNING_PERIOD
from web.cache import dependencies

# A link is stale after the limit, not at it.
_AFTER = timedelta(milliseconds=1)


def init_app(app: Flask, settings: Settings) -> None:
    """Keep the limit for `stale_limit`."""
    app.config["STALE_AFTER_S"] = settings.stale_after_s


def stale_limit() -> timedelta:
    """The silence after which a part of the data path is stale, from the settings."""
    return timedelta(seconds=current_app.config["STALE_AFTER_S"])


def expire_at_next_change(sync: SyncStatus | None, now: datetime, stale_after: timedelta) -> None:
    """Limit the validity of the response: links become stale without another heartbeat."""
    change = _next_change(sync, now, stale_after)
    if change is not None:
        dependencies.expire_at(change + _AFTER)


def _next_change(sync: SyncStatus | None, now: datetime, stale_after: timedelta) -> datetime | None:
    """Next time at which a link gets stale or the certificate's warning changes, if no heartbeat arrives."""
    if sync is None:
        return None
    links = [link for _, link in sync.machines]
    synced = [sync.heartbeat_at, *(link.last_success_at for link in (sync.gateway, sync.status, *links))]
    changes = [at + stale_after for at in synced if at is not None]
    # Until then its clock is too far ahead.
    changes.append(sync.heartbeat_at - stale_after)
    if sync.certificate_expires_at is not None:
        changes += [sync.certificate_expires_at - CERTIFICATE_WARNING_PERIOD, sync.certificate_expires_at]
    return min((at for at in changes if at >= now), default=None)
