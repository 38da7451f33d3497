"""Handlers run in few threads, and in more when those are held up."""

from __future__ import annotations

import asyncio
import threading

import pytest

from streamrec.handlers._calls import FEW, MOST, Threads


@pytest.fixture
def barrier() -> threading.Event:
    return threading.Event()


def test_those_that_are_held_up_do_not_hold_up_others(barrier: threading.Event) -> None:
    """Twelve handlers that wait for something slow, and one that does not."""

    async def scenario() -> str:
        threads = Threads()
        slow = [asyncio.create_task(threads.run(lambda: barrier.wait(30))) for _ in range(12)]
        quick = await asyncio.wait_for(threads.run(lambda: "quick"), timeout=10)
        barrier.set()
        await asyncio.gather(*slow)
        threads.close()
        return str(quick)

    assert asyncio.run(scenario()) == "quick"


def test_while_all_goes_well_few_work_at_once() -> None:
    lock, working, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        with lock:
            working -= 1

    async def scenario() -> None:
        threads = Threads()
        await asyncio.gather(*(threads.run(work) for _ in range(200)))
        threads.close()

    asyncio.run(scenario())
    assert most <= FEW


def test_there_are_as_many_as_the_pool_has_connections(barrier: threading.Event) -> None:
    """All of them may be held up at once; one more waits for them."""
    started = threading.Semaphore(0)

    def hold() -> None:
        started.release()
        barrier.wait(30)

    async def scenario() -> None:
        threads = Threads()
        tasks = [asyncio.create_task(threads.run(hold)) for _ in range(MOST)]
        for _ in range(MOST):
            assert await asyncio.to_thread(started.acquire, timeout=20)
        barrier.set()
        await asyncio.gather(*tasks)
        threads.close()

    asyncio.run(scenario())


def test_what_a_handler_raises_arrives() -> None:
    async def scenario() -> None:
        threads = Threads()
        try:
            await threads.run(lambda: [][0])
        finally:
            threads.close()

    with pytest.raises(IndexError):
        asyncio.run(scenario())
