"""Delivery of one message by apprise, in a process of its own.

Apprise takes 45 MB and logs URLs. So it is imported here only, by a process that lives for one message, whose
output and logs go nowhere, and which is killed if it takes too long.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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
            return _refusal(url)
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
        return None if _receiver(url) is not None else _refusal(url)


def silence() -> None:
    """Discard the output of this process, to which libraries might write."""
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


def _refusal(url: str) -> str:
    """Reason why apprise does not accept a URL; of the URL it has the scheme only."""
    scheme = url.partition("://")[0]
    services = apprise.Apprise().details(show_requirements=True, show_disabled=True)["schemas"]
    for service in services:
        if scheme not in {*(service["protocols"] or ()), *(service["secure_protocols"] or ())}:
            continue
        if service["enabled"] and not service["requirements"]["packages_recommended"]:
            return REFUSED_URL
        packages = _packages(service["requirements"])
        if service["enabled"]:
            return f"{REFUSED_URL}; for {scheme}:// it recommends {packages}"
        return f"apprise requires {packages} for {scheme}://, which this installation does not have"
    return f"apprise has no service for {scheme}://"


def _packages(requirements: Mapping[str, Any]) -> str:
    """Python packages of a service; a service without any is one of a desktop."""
    names = [*requirements["packages_required"], *requirements["packages_recommended"]]
    return " or ".join(names) or "a desktop"


@contextmanager
def _captured() -> Iterator[_StatusHandler]:
    """Keep all log records of libraries from being written anywhere."""
    handler = _StatusHandler()
    logger = logging.getLogger("apprise")
    logger.handlers, logger.propagate = [handler], False
    logging.getLogger().handlers = [logging.NullHandler()]
    yield handler
