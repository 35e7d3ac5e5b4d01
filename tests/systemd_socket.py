"""systemd's side of sd_notify(3), played by a test."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from tests.waiting import TIMEOUT_S

_WATCHDOG_S = 2


class NotifySocket:
    """Notifications of a program, in order of arrival."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def receive(self, timeout_s: float = TIMEOUT_S) -> str:
        """Next notification. Raises TimeoutError."""
        self._channel.settimeout(timeout_s)
        return self._channel.recv(4096).decode()

    def is_silent(self, for_s: float) -> bool:
        """Whether no notification arrives for a while."""
        try:
            self.receive(for_s)
        except TimeoutError:
            return True
        return False


@contextmanager
def systemd_socket(
    environment: Mapping[str, str], folder: Path
) -> Iterator[tuple[NotifySocket, dict[str, str]]]:
    """A notification socket, and `environment` as systemd would extend it."""
    address = str(folder / "notify")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as channel:
        channel.bind(address)
        variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(_WATCHDOG_S * 1_000_000)}
        yield NotifySocket(channel), {**environment, **variables}
