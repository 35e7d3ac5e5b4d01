"""A program's service manager, played by a test: the socket that its news come to."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path


class Notified:
    """The news of a program, in the order in which they came."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def next(self, within_s: float = 30) -> str:
        """The next piece of news. Raises TimeoutError if none comes in time."""
        self._channel.settimeout(within_s)
        return self._channel.recv(4096).decode()

    def is_silent(self, for_s: float) -> bool:
        """Whether nothing comes for so long."""
        try:
            self.next(for_s)
        except TimeoutError:
            return True
        return False

    def forget(self) -> None:
        """Leaves out what has come so far."""
        while not self.is_silent(0.01):
            pass


@contextmanager
def service_manager(
    environment: Mapping[str, str], folder: Path, *, watchdog_s: float = 2
) -> Iterator[tuple[Notified, dict[str, str]]]:
    """A service manager, and `environment` as it would start a program with."""
    address = str(folder / "notify")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as channel:
        channel.bind(address)
        told = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}
        yield Notified(channel), {**environment, **told}
