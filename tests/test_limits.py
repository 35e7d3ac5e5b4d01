"""Queues of requests: first come, first served, a bounded wait, and one's own slots for each kind."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from dqmsquare_cfg import Cluster, Settings
from tests.driven_loop import run, settled, skip
from web import limits
from web.databases import ClusterDatabase
from web.limits import Overloaded, RequestKind, RequestQueue

ARCHITECTURE = Path(__file__).parent.parent / "docs" / "architecture.md"


async def refusal(queue: RequestQueue) -> Overloaded:
    with pytest.raises(Overloaded) as refused:
        await queue.acquire()
    return refused.value


def test_it_lets_as_many_in_as_there_are_slots_and_the_others_in_order() -> None:
    async def test() -> None:
        queue = RequestQueue(RequestKind.PAGE, slots=2, max_wait_s=1)
        entered: list[int] = []

        async def enter(number: int) -> None:
            await queue.acquire()
            entered.append(number)

        waiting = [asyncio.create_task(enter(number)) for number in range(5)]
        await settled()
        assert entered == [0, 1]
        for number in range(2, 5):
            queue.release()
            await settled()
            assert entered == list(range(number + 1))
        await asyncio.gather(*waiting)

    run(test())


def test_it_refuses_after_the_longest_wait() -> None:
    async def test() -> None:
        queue = RequestQueue(RequestKind.RUN_RANGE, slots=1, max_wait_s=5, sentence="Later.")
        await queue.acquire()
        waiting = asyncio.create_task(refusal(queue))
        await skip(4.9)
        assert not waiting.done()
        await skip(0.2)
        refused = await waiting
        assert (refused.kind, refused.refusal.status, refused.refusal.body) == (
            RequestKind.RUN_RANGE,
            503,
            b"Later.",
        )
        assert (b"retry-after", b"5") in refused.refusal.headers

    run(test())


def test_it_refuses_at_once_while_nothing_moves() -> None:
    async def test() -> None:
        queue = RequestQueue(RequestKind.PAGE, slots=1, max_wait_s=1)
        await queue.acquire()
        waiting = asyncio.create_task(refusal(queue))
        await skip(1.1)
        await waiting
        refused = asyncio.create_task(refusal(queue))
        await settled()
        assert refused.done()
        queue.release()
        await queue.acquire()

    run(test())


def test_a_client_that_leaves_frees_its_slot() -> None:
    async def test() -> None:
        queue = RequestQueue(RequestKind.PAGE, slots=1, max_wait_s=10)
        await queue.acquire()
        leaving, staying = (asyncio.create_task(queue.acquire()) for _ in range(2))
        await settled()
        # In the moment of its turn.
        queue.release()
        leaving.cancel()
        await staying
        queue.release()
        await queue.acquire()

    run(test())


def test_a_view_has_the_queue_that_it_is_marked_with() -> None:
    def view() -> None: ...

    assert limits.kind_of(view, {}) is RequestKind.PAGE

    def is_range(query: Mapping[str, str]) -> bool:
        return query.get("what") == "get_runs"

    marked = limits.limited_as(RequestKind.RUN_RANGE, is_range)(view)
    assert limits.kind_of(marked, {"what": "get_runs"}) is RequestKind.RUN_RANGE
    assert limits.kind_of(marked, {"what": "get_run"}) is RequestKind.PAGE


def test_a_worker_has_a_thread_for_each_slot_and_a_connection_for_each_but_those_of_commands(
    settings: Settings,
) -> None:
    others = [number for kind, number in limits.slots(settings).items() if kind is not RequestKind.COMMAND]
    assert limits.threads(settings) == sum(others) + limits.MAX_QUEUED_COMMANDS + 2
    pool = ClusterDatabase(settings, Cluster.PRODUCTION).engine.pool
    assert isinstance(pool, sa.QueuePool)
    assert pool.size() == sum(others) + 3
    [documented] = re.findall(r"`SERVER_THREADS` \+ (\d+) to each", ARCHITECTURE.read_text())
    assert pool.size() == settings.server_threads + int(documented)
