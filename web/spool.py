"""Spool of a response: buffers it for a slow client, so that the thread that generates it is not blocked.

Bytes that the client has not read yet are kept in memory and, beyond a limit, in a temporary file. The thread
waits for the client only when both are full. The event loop itself reads and writes the file: its pages are
in the system's cache.
"""

import asyncio
import logging
import os
import tempfile
from collections import deque
from pathlib import Path
from typing import IO, Self

from runtime import logging_setup

log = logging.getLogger(__name__)

_PIECE_BYTES = 64 * 1024
# In memory, of one response and of all of them.
_AHEAD_BYTES = 1_000_000
_MEMORY_BYTES = 64_000_000
_DISK_BYTES = 512_000_000


class Quota:
    """Number of bytes that all responses of a worker share."""

    def __init__(self, free_bytes: int, freed: asyncio.Event) -> None:
        self._free_bytes = free_bytes
        self._freed = freed

    def take(self, count: int) -> bool:
        """Reserve bytes; return whether they were available."""
        is_free = count <= self._free_bytes
        if is_free:
            self._free_bytes -= count
        return is_free

    def give_back(self, count: int) -> None:
        """Return bytes."""
        self._free_bytes += count
        self._freed.set()


class SpoolSpace:
    """Space for a worker's spools: `memory`, and `disk` in unnamed files of a directory."""

    def __init__(
        self, directory: Path, *, memory_bytes: int = _MEMORY_BYTES, disk_bytes: int = _DISK_BYTES
    ) -> None:
        self._directory = directory
        self._freed = asyncio.Event()
        self.memory = Quota(memory_bytes, self._freed)
        self.disk = Quota(disk_bytes, self._freed)

    def new_file(self) -> IO[bytes]:
        """Make a file that is deleted when it is closed. Raises OSError."""
        return tempfile.TemporaryFile(dir=self._directory, buffering=0)

    async def wait(self) -> None:
        """Wait until space was freed."""
        self._freed.clear()
        await self._freed.wait()


class Spool:
    """First-in, first-out buffer of one response, for one producer and one consumer."""

    def __init__(self, space: SpoolSpace) -> None:
        self._space = space
        self._chunks: deque[bytes] = deque()
        # Including the chunk that the consumer is sending.
        self._memory_bytes = 0
        self._in_hand_bytes = 0
        self._file: IO[bytes] | None = None
        self._has_disk = True
        # The bytes between these offsets are unread.
        self._read_to = self._written_to = 0
        self._is_finished = self._is_closed = False
        self._filled = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Discard what is buffered, and what is still added."""
        self._is_closed = True
        self._chunks.clear()
        self._drop_file()
        self._space.memory.give_back(self._memory_bytes)
        self._memory_bytes = 0

    async def put(self, chunk: bytes) -> None:
        """Add bytes; waits while there is no space for them."""
        while chunk and not self._is_closed and not self._store(chunk):
            await self._space.wait()
        self._filled.set()

    def finish(self) -> None:
        """Mark the end of the response."""
        self._is_finished = True
        self._filled.set()

    async def get(self) -> bytes:
        """Wait for the next bytes; `b""` at the end. The previous ones have been sent."""
        self._give_back_in_hand()
        while not (self._chunks or self._file or self._is_finished):
            await self._wait()
        return self._chunk_in_memory() if self._chunks else self._piece_of_file()

    async def complete_size(self) -> int:
        """Wait for the end of the response and return its size; nothing may have been read before."""
        while not self._is_finished:
            await self._wait()
        return self._memory_bytes + self._written_to

    async def _wait(self) -> None:
        self._filled.clear()
        await self._filled.wait()

    def _store(self, chunk: bytes) -> bool:
        if self._file is None and self._memory_bytes < _AHEAD_BYTES and self._space.memory.take(len(chunk)):
            self._chunks.append(chunk)
            self._memory_bytes += len(chunk)
            return True
        return self._write(chunk)

    def _write(self, chunk: bytes) -> bool:
        if not self._has_disk or not self._space.disk.take(len(chunk)):
            return False
        try:
            if self._file is None:
                self._file = self._space.new_file()
            _write_all(self._file, chunk, self._written_to)
        except OSError as error:
            log.warning("spool_failed reason=%s", logging_setup.quote_value(error.strerror))
            self._space.disk.give_back(len(chunk))
            self._has_disk = False
            if self._read_to == self._written_to:
                self._drop_file()
            return False
        self._written_to += len(chunk)
        return True

    def _chunk_in_memory(self) -> bytes:
        chunk = self._chunks.popleft()
        self._in_hand_bytes = len(chunk)
        return chunk

    def _piece_of_file(self) -> bytes:
        if self._file is None:
            return b""
        waiting = self._written_to - self._read_to
        piece = os.pread(self._file.fileno(), min(_PIECE_BYTES, waiting), self._read_to)
        self._read_to += len(piece)
        if self._read_to == self._written_to:
            self._drop_file()
        return piece

    def _give_back_in_hand(self) -> None:
        self._memory_bytes -= self._in_hand_bytes
        self._space.memory.give_back(self._in_hand_bytes)
        self._in_hand_bytes = 0

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._space.disk.give_back(self._written_to)
        self._read_to = self._written_to = 0


def _write_all(file: IO[bytes], content: bytes, offset: int) -> None:
    left = memoryview(content)
    while left:
        written = os.pwrite(file.fileno(), left, offset)
        left, offset = left[written:], offset + written
