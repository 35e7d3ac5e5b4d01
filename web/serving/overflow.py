"""Where answers wait that are far ahead of their readers: on disk, in files that no name leads to."""

import logging
import os
import tempfile
import threading
from pathlib import Path
from typing import IO

from runtime import logging_setup

log = logging.getLogger(__name__)


class Room:
    """How much may wait in a folder's files, for all answers of a worker together."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._free_bytes = most_bytes
        self._lock = threading.Lock()

    def new_file(self) -> IO[bytes]:
        """A file in the folder that is gone once it is closed. Raises OSError if there can be none."""
        self._folder.mkdir(exist_ok=True)
        return tempfile.TemporaryFile(dir=self._folder, buffering=0)

    def take(self, count: int) -> bool:
        """Takes so many bytes of it, if they are free."""
        with self._lock:
            is_free = count <= self._free_bytes
            if is_free:
                self._free_bytes -= count
        return is_free

    def give_back(self, count: int) -> None:
        """Gives so many bytes back."""
        with self._lock:
            self._free_bytes += count


class Overflow:
    """What waits of one answer, first in, first out; for one thread at a time."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._file: IO[bytes] | None = None
        self._has_failed = False
        # What lies between is what waits.
        self._read_to = self._written_to = 0

    @property
    def size(self) -> int:
        """How many bytes wait."""
        return self._written_to - self._read_to

    def put(self, content: bytes) -> bool:
        """Adds some bytes; whether there was room for them."""
        if self._has_failed or not self._room.take(len(content)):
            return False
        try:
            self._write(content)
        except OSError as error:
            log.warning(
                "an answer can't wait on disk reason=%s", logging_setup.quote_value(error.strerror or "")
            )
            self._room.give_back(len(content))
            self._has_failed = True
            return False
        self._written_to += len(content)
        return True

    def take(self, most: int) -> bytes:
        """The next bytes, `most` so many; with the last of them its place on disk is given back."""
        if self._file is None:
            return b""
        taken = os.pread(self._file.fileno(), min(most, self.size), self._read_to)
        self._read_to += len(taken)
        if not self.size:
            self.clear()
        return taken

    def clear(self) -> None:
        """Gives up what waits, and its place on disk."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._room.give_back(self._written_to)
        self._read_to = self._written_to = 0

    def _write(self, content: bytes) -> None:
        if self._file is None:
            self._file = self._room.new_file()
        left, at = memoryview(content), self._written_to
        while left:
            written = os.pwrite(self._file.fileno(), left, at)
            left, at = left[written:], at + written
