"""A response that is far ahead of its client waits on disk; without space its producer waits."""

import asyncio
import os
import resource
from pathlib import Path
from random import Random

import pytest

from tests import processes
from tests.driven_loop import run, settled
from web.spool import Spool, SpoolSpace

CONTENT = Random(1).randbytes(6_000_000)
CHUNK_BYTES = 70_000


async def produce(spool: Spool) -> None:
    for offset in range(0, len(CONTENT), CHUNK_BYTES):
        await spool.put(CONTENT[offset : offset + CHUNK_BYTES])
    spool.finish()


async def consume(spool: Spool) -> bytes:
    received = bytearray()
    while chunk := await spool.get():
        received += chunk
        await settled()
    return bytes(received)


def open_files(directory: Path) -> int:
    return len(processes.open_files(os.getpid(), directory))


def test_it_takes_all_of_it_though_nobody_reads(tmp_path: Path) -> None:
    async def test() -> None:
        space = SpoolSpace(tmp_path)
        with Spool(space) as spool:
            await produce(spool)
            assert open_files(tmp_path) == 1
            # The file has no name.
            assert list(tmp_path.iterdir()) == []
            assert await spool.complete_size() == len(CONTENT)
            assert await consume(spool) == CONTENT
            assert open_files(tmp_path) == 0

    run(test())


@pytest.mark.parametrize(("memory_bytes", "disk_bytes"), [(200_000, 0), (1_000_000, 500_000), (0, 200_000)])
def test_its_producer_waits_without_space(tmp_path: Path, memory_bytes: int, disk_bytes: int) -> None:
    async def test() -> None:
        with Spool(SpoolSpace(tmp_path, memory_bytes=memory_bytes, disk_bytes=disk_bytes)) as spool:
            producer = asyncio.create_task(produce(spool))
            await settled()
            assert not producer.done()
            assert await consume(spool) == CONTENT
            await producer

    run(test())


def test_its_producer_waits_where_the_disk_takes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        with Spool(SpoolSpace(tmp_path)) as spool:
            producer = asyncio.create_task(produce(spool))
            await settled()
            assert not producer.done()
            assert await consume(spool) == CONTENT
            await producer

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        run(test())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_it_returns_its_space(tmp_path: Path) -> None:
    async def test() -> None:
        space = SpoolSpace(tmp_path, memory_bytes=2_000_000, disk_bytes=6_000_000)
        for _ in range(3):
            with Spool(space) as read, Spool(space) as dropped:
                await produce(read)
                assert await consume(read) == CONTENT
                await produce(dropped)
        assert space.memory.take(2_000_000)
        assert space.disk.take(6_000_000)

    run(test())


def test_its_producer_goes_on_for_a_client_that_left(tmp_path: Path) -> None:
    async def test() -> None:
        spool = Spool(SpoolSpace(tmp_path, memory_bytes=200_000, disk_bytes=0))
        with spool:
            producer = asyncio.create_task(produce(spool))
            await settled()
        await producer

    run(test())
