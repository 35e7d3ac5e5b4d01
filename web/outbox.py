"""Where an answer is written to: what its reader does not take at once is kept, and sent when he does.

So the thread that made the answer is free for others. An answer that comes in pieces may be so far ahead of
its reader and no further: then its thread waits, and gives up on one who takes nothing, or takes for ever.
"""

import errno
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

# How far ahead of its reader an answer in pieces may be.
_MOST_AHEAD_BYTES = 1_000_000
# Who takes nothing for so long is gone; who takes longer than that for one answer holds up who comes next.
STALLED_S = 10.0
_LONGEST_S = 300.0
# A part of an answer that is offered to the system at a time.
_PIECE_BYTES = 256 * 1024


class Outbox:
    """Stands for a connection's socket while an answer is written to it.

    `size`: how many bytes are unsent. `until_s`: when its reader should have them, monotonic.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._unsent: deque[memoryview] = deque()
        self.until_s = time.monotonic() + _LONGEST_S
        self.size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, content: bytes) -> None:
        """Sends what the reader takes at once and keeps the rest. Raises OSError if there is no reader."""
        while self.size > _MOST_AHEAD_BYTES:
            self._wait()
            self.send_some()
        self._unsent.append(memoryview(content))
        self.size += len(content)
        self.send_some()

    def send_some(self) -> None:
        """Sends what the reader takes now. Raises OSError if there is no reader."""
        for piece in self._pieces():
            try:
                sent = self._sock.send(piece, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            self._took(sent)

    def _pieces(self) -> Iterator[memoryview]:
        while self._unsent:
            yield self._unsent[0][:_PIECE_BYTES]

    def _took(self, sent: int) -> None:
        self.size -= sent
        rest = self._unsent.popleft()[sent:]
        if rest:
            self._unsent.appendleft(rest)

    def _wait(self) -> None:
        writable = select.poll()
        writable.register(self._sock, select.POLLOUT)
        if time.monotonic() > self.until_s or not writable.poll(STALLED_S * 1000):
            raise BrokenPipeError(errno.EPIPE, "the reader takes too long")
