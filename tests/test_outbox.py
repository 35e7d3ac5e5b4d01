"""An answer that is far ahead of its reader waits on disk; without room its reader is waited for."""

import resource
import select
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from web.serving.outbox import Outbox
from web.serving.overflow import Overflow, Room

CONTENT = Random(1).randbytes(6_000_000)
ENOUGH = 10_000_000


class Answered:
    """An answer on its way: the server's end, and its reader's."""

    def __init__(self, room: Room) -> None:
        server, self.reader = socket.socketpair()
        self.reader.settimeout(20)
        self.outbox = Outbox(server, room)

    def answer(self) -> None:
        """Writes all of it, in the pieces that answers come in."""
        for at in range(0, len(CONTENT), 70_000):
            self.outbox.sendall(CONTENT[at : at + 70_000])

    def read_some(self) -> bytes:
        """What a reader gets of what is on its way, if anything is."""
        on_its_way, _, _ = select.select([self.reader], [], [], 0.05)
        return self.reader.recv(10_000) if on_its_way else b""

    def read_rest(self, begun: bytes = b"") -> bytes:
        """What a reader gets who reads on, the server's loop sending on meanwhile."""
        received = bytearray(begun)
        while len(received) < len(CONTENT):
            self.outbox.send_some()
            received += self.reader.recv(1_000_000)
        return bytes(received)

    def close(self) -> None:
        """Ends the connection."""
        self.outbox.give_up()
        self.outbox.close()
        self.reader.close()


@contextmanager
def answering(answered: Answered) -> Iterator["Future[None]"]:
    """Meanwhile a thread of the server's writes the answer."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(answered.answer)


def test_it_is_written_whole_though_nobody_reads(tmp_path: Path) -> None:
    with closing(Answered(Room(tmp_path / "waiting", ENOUGH))) as answered:
        answered.answer()
        assert answered.outbox.in_memory < 1_200_000 < answered.outbox.size
        # In a file that nobody else can open.
        assert list((tmp_path / "waiting").iterdir()) == []
        assert answered.read_rest() == CONTENT
        assert (answered.outbox.size, answered.outbox.in_memory) == (0, 0)


@pytest.mark.parametrize(("folder", "most_bytes"), [("waiting", 0), ("waiting", 500_000), ("a/b", ENOUGH)])
def test_without_room_its_reader_is_waited_for(tmp_path: Path, folder: str, most_bytes: int) -> None:
    with (
        closing(Answered(Room(tmp_path / folder, most_bytes))) as answered,
        answering(answered) as written,
    ):
        received = bytearray()
        while not written.done():
            received += answered.read_some()
            assert answered.outbox.in_memory < 1_200_000
        written.result()
        assert answered.read_rest(bytes(received)) == CONTENT


def test_its_room_is_given_back(tmp_path: Path) -> None:
    room = Room(tmp_path / "waiting", ENOUGH)
    with closing(Answered(room)) as taken, closing(Answered(room)) as given_up:
        taken.answer()
        assert taken.read_rest() == CONTENT
        given_up.answer()
    assert room.take(ENOUGH)


def test_its_room_is_given_back_where_the_disk_takes_nothing(tmp_path: Path) -> None:
    room = Room(tmp_path / "waiting", ENOUGH)
    longest, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, most))
    try:
        assert not Overflow(room).put(CONTENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest, most))
    assert room.take(ENOUGH)
