"""Where an answer is written to: what its reader does not take at once is kept, and sent when he does.

So the thread that made the answer, and whatever that took for it, is free for others. What is far ahead of
its reader waits on disk. Only where there is no room left does the thread wait too, and gives up on one who
takes nothing, or takes for ever.
"""

import errno
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from web.serving.overflow import Overflow, Room

# How far ahead of its reader an answer in pieces may be in memory.
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

    def __init__(self, sock: socket.socket, room: Room) -> None:
        self._sock = sock
        self._overflow = Overflow(room)
        self._unsent: deque[memoryview] = deque()
        self.until_s = time.monotonic() + _LONGEST_S
        self.size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    @property
    def in_memory(self) -> int:
        """How many of the bytes that are unsent are in memory."""
        return self.size - self._overflow.size

    def sendall(self, content: bytes) -> None:
        """Sends what the reader takes at once and keeps the rest. Raises OSError if there is no reader."""
        while not self._keeps(content):
            self._wait()
            self.send_some()
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

    def give_up(self) -> None:
        """Forgets what is unsent: its reader is gone."""
        self._unsent.clear()
        self._overflow.clear()
        self.size = 0

    def _keeps(self, content: bytes) -> bool:
        """Keeps it in memory or, behind what is there or too far ahead, on disk; whether there was room."""
        if self._overflow.size or self.size > _MOST_AHEAD_BYTES:
            return self._overflow.put(content)
        self._unsent.append(memoryview(content))
        return True

    def _pieces(self) -> Iterator[memoryview]:
        while self.size:
            if not self._unsent:
                self._unsent.append(memoryview(self._overflow.take(_PIECE_BYTES)))
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
