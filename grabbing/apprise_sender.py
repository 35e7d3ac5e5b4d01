"""Delivery of one message by apprise, in a process of its own.

Apprise takes 45 MB and logs URLs. So it is imported here only, by a process that lives for one message, whose
output and logs go nowhere, and which is killed if it takes too long.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import apprise

# Status codes of HTTP and SMTP in what apprise logs of a failure.
_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b|\b(?:HTTP|status)[ =]([1-5][0-9]{2})\b")
_SERVICE_TIMEOUT_S = 20
REFUSED_URL = "apprise does not accept the URL"


class _StatusHandler(logging.Handler):
    """Keeps the status code that apprise logs, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.status: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the status code of a record."""
        found = _STATUS.search(record.getMessage())
        if found is not None:
            self.status = found[1] or found[2]


def deliver(url: str, title: str, body: str) -> str | None:
    """Deliver a message; returns `None`, or the reason for the failure without any part of the URL."""
    with _captured() as handler:
        receiver = _receiver(url)
        if receiver is None:
            return REFUSED_URL
        try:
            is_delivered = bool(
                receiver.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT)
            )
        # Any exception of a plug-in may quote the URL.
        except Exception as error:  # noqa: BLE001
            return f"apprise failed: {type(error).__name__}"
    if is_delivered:
        return None
    return "not delivered" if handler.status is None else f"not delivered: status {handler.status}"


def check(url: str) -> str | None:
    """Whether apprise accepts a URL; returns `None`, or the reason why not."""
    with _captured():
        return None if _receiver(url) is not None else REFUSED_URL


def silence() -> None:
    """Close the output of this process, to which libraries might write."""
    # Kept open until the process ends.
    sink = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stderr = sink


def _receiver(url: str) -> apprise.Apprise | None:
    asset = apprise.AppriseAsset(
        app_id="DQM² Mirror",
        app_desc="DQM² Mirror",
        app_url="",
        async_mode=False,
        secure_logging=True,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        service_timeout=_SERVICE_TIMEOUT_S,
    )
    receiver = apprise.Apprise(asset=asset)
    try:
        is_accepted = receiver.add(url)
    # Any exception of a plug-in may quote the URL.
    except Exception:  # noqa: BLE001
        return None
    return receiver if is_accepted else None


@contextmanager
def _captured() -> Iterator[_StatusHandler]:
    """Keep all log records of libraries from being written anywhere."""
    handler = _StatusHandler()
    logger = logging.getLogger("apprise")
    logger.handlers, logger.propagate = [handler], False
    logging.getLogger().handlers = [logging.NullHandler()]
    yield handler
