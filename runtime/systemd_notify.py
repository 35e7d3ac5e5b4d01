"""What systemd is told of a program: that it is ready, and as long as it is well, that it is.

The protocol is sd_notify(3)'s: a datagram a piece of news to the socket that systemd names. A program that
no service manager started has nobody to tell, and tells nothing.
"""

import logging
import socket
import threading
from collections.abc import Callable

from dqmsquare_cfg import SdNotify

log = logging.getLogger(__name__)

# How often a program that is not ready yet looks whether it is.
_LOOK_EVERY_S = 0.5
# News come so many times in the time after which systemd would miss them.
_NEWS_IN_TIME = 4


def watch(manager: SdNotify | None, is_well: Callable[[], bool]) -> None:
    """Tells, from a thread that ends with the program, when it is ready, and that it is well while it is.

    Ready is who was well once. `is_well` is asked from that thread.
    """
    if manager is not None:
        threading.Thread(target=_tell, args=(manager, is_well), name="service-manager", daemon=True).start()


def _tell(manager: SdNotify, is_well: Callable[[], bool]) -> None:
    never = threading.Event()
    while not is_well():
        never.wait(_LOOK_EVERY_S)
    _send(manager, "READY=1")
    if manager.watchdog_s is None:
        return
    while not never.wait(manager.watchdog_s / _NEWS_IN_TIME):
        if is_well():
            _send(manager, "WATCHDOG=1")


def _send(manager: SdNotify, news: str) -> None:
    # An address that begins with @ is one without a file, which the kernel writes with a null byte.
    address = f"\0{manager.address[1:]}" if manager.address.startswith("@") else manager.address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(news.encode(), address)
    except OSError as error:
        log.warning("failed notify=%s reason=%s", news, error.strerror)
