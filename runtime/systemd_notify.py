"""Readiness and watchdog notifications to systemd, by the protocol of sd_notify(3).

Each message is a datagram to the socket that systemd names. Without a service manager nothing is sent.
"""

import logging
import socket
import threading
from collections.abc import Callable

from dqmsquare_cfg import SdNotify
from runtime import logging_setup

log = logging.getLogger(__name__)

_STARTUP_POLL_S = 0.5
_MESSAGES_PER_WATCHDOG_PERIOD = 4


def start(target: SdNotify | None, is_healthy: Callable[[], bool]) -> None:
    """Start a daemon thread that reports readiness and keeps the watchdog alive.

    The program is ready once `is_healthy`, called from that thread, has returned true; the watchdog is kept
    alive while it does.
    """
    if target is not None:
        threading.Thread(target=_run, args=(target, is_healthy), name="systemd-notify", daemon=True).start()


def _run(target: SdNotify, is_healthy: Callable[[], bool]) -> None:
    never = threading.Event()
    while not is_healthy():
        never.wait(_STARTUP_POLL_S)
    _send(target, "READY=1")
    if target.watchdog_s is None:
        return
    while not never.wait(target.watchdog_s / _MESSAGES_PER_WATCHDOG_PERIOD):
        if is_healthy():
            _send(target, "WATCHDOG=1")


def _send(target: SdNotify, message: str) -> None:
    # A leading @ denotes Linux's abstract socket namespace, a null byte in the system call.
    address = f"\0{target.address[1:]}" if target.address.startswith("@") else target.address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(message.encode(), address)
    except OSError as error:
        reason = logging_setup.quote_value(error.strerror)
        log.warning("systemd_notify_failed message=%s reason=%s", message, reason)
