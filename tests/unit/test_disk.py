"""Work on files that shares threads and wake-ups."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from streamrec.recorder.disk import SLOW_SECONDS, Disk


class CountedThreads(ThreadPoolExecutor):
    """Threads that count how often they are given something."""

    def __init__(self) -> None:
        super().__init__(4)
        self.submissions = 0

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submissions += 1
        return super().submit(*args, **kwargs)


@pytest.fixture
def threads() -> Iterator[CountedThreads]:
    with CountedThreads() as threads:
        yield threads


def test_each_gets_its_own_result(threads: CountedThreads) -> None:
    async def story() -> list[int]:
        disk = Disk(threads)
        return await asyncio.gather(*(disk.run(lambda number=number: number * 2) for number in range(40)))

    assert asyncio.run(story()) == [number * 2 for number in range(40)]


def test_what_is_asked_for_at_once_shares_a_thread(threads: CountedThreads) -> None:
    async def story() -> None:
        disk = Disk(threads)
        await asyncio.gather(*(disk.run(lambda: None) for _ in range(50)))

    asyncio.run(story())

    assert threads.submissions == 1


def test_what_may_wait_shares_threads_with_what_comes_a_little_later(threads: CountedThreads) -> None:
    async def story() -> list[int]:
        disk = Disk(threads)
        waits = []
        for number in range(10):
            waits.append(asyncio.ensure_future(disk.run(lambda number=number: number, may_wait=True)))
            await asyncio.sleep(0)
        return await asyncio.gather(*waits)

    assert asyncio.run(story()) == list(range(10))
    assert threads.submissions <= 2  # those who wait may be served in between


def test_what_may_wait_is_done_at_once_in_company_of_what_may_not(threads: CountedThreads) -> None:
    async def story() -> list[int]:
        disk, done = Disk(threads), list[int]()
        disk.submit(lambda: 1, lambda result, _: done.append(result), may_wait=True)
        done.append(await disk.run(lambda: 2))
        return done

    assert asyncio.run(story()) == [1, 2]
    assert threads.submissions == 1


def test_others_come_to_help_where_work_is_slow(threads: CountedThreads) -> None:
    """Four pieces meet that each wait for all the others."""
    meeting = threading.Barrier(4, timeout=10)

    async def story() -> None:
        disk = Disk(threads)
        for _ in range(4):
            disk.submit(lambda: None, lambda *_: None)
        await disk.run(lambda: time.sleep(2 * SLOW_SECONDS))
        waits = []
        for _ in range(4):  # whoever is stuck with one does not keep the next from another thread
            waits.append(asyncio.ensure_future(disk.run(meeting.wait)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*waits)

    asyncio.run(story())


def test_an_error_comes_to_who_asked_and_harms_nobody_else(threads: CountedThreads) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    async def story() -> tuple[Any, ...]:
        disk = Disk(threads)
        return tuple(await asyncio.gather(disk.run(fail), disk.run(lambda: 7), return_exceptions=True))

    failed, fine = asyncio.run(story())

    assert (type(failed), fine) == (OSError, 7)


def test_work_is_done_whole_though_nobody_waits_any_more(threads: CountedThreads) -> None:
    may_go_on, is_done = threading.Event(), threading.Event()

    def work() -> None:
        may_go_on.wait(5)
        is_done.set()

    async def story() -> None:
        waiting = asyncio.create_task(Disk(threads).run(work))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        may_go_on.set()

    asyncio.run(story())

    assert is_done.wait(5)


def test_a_slow_piece_does_not_keep_the_results_of_those_before_it(threads: CountedThreads) -> None:
    release, first_is_slow = threading.Event(), threading.Event()

    async def story() -> tuple[int, bool]:
        disk = Disk(threads)
        slow = asyncio.create_task(disk.run(lambda: first_is_slow.wait(0.05) or 1))
        stuck = asyncio.create_task(disk.run(lambda: release.wait(5)))
        result = await slow
        was_stuck = not stuck.done()
        release.set()
        await stuck
        return result, was_stuck

    assert asyncio.run(story()) == (1, True)
