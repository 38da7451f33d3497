"""Blocking work on files, done in threads: what is asked for in one turn of the loop shares the wake-ups.

A thread that is woken for each write of each capture costs more than the writes: at 100 radios 27 futex calls and
eight switches a second and channel.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

Result = TypeVar("Result")

SHARE: Final = (
    16  # pieces of work for one thread; more go to others, because syncs of a file system run in company
)
PATIENCE_SECONDS: Final = 0.02  # so long the first results wait for the others'


class _Job(NamedTuple):
    work: Callable[[], Any]
    future: asyncio.Future[Any]


class _Done(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None


class Disk:
    """Runs work of one event loop in `threads`. The order of pieces that are asked for at once is not kept."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._jobs: list[_Job] = []

    async def run(self, work: Callable[[], Result]) -> Result:
        """What `work` returns or raises. It is done whole, even if whoever waits for it is cancelled."""
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.create_future())
        self._jobs.append(job)
        if len(self._jobs) == 1:
            loop.call_soon(self._hand_over, loop)
        result: Result = await job.future
        return result

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs, self._jobs = self._jobs, []
        for first in range(0, len(jobs), SHARE):
            self._threads.submit(_work_through, jobs[first : first + SHARE], loop)


def _work_through(jobs: Sequence[_Job], loop: asyncio.AbstractEventLoop) -> None:
    done: list[_Done] = []
    told_at = time.monotonic()
    for job in jobs:
        done.append(_outcome(job))
        if time.monotonic() - told_at > PATIENCE_SECONDS:
            _tell(loop, done)
            done, told_at = [], time.monotonic()
    _tell(loop, done)


def _outcome(job: _Job) -> _Done:
    try:
        return _Done(job.future, job.work(), None)
    except BaseException as exc:  # noqa: BLE001 - it is raised where the work was asked for
        return _Done(job.future, None, exc)


def _tell(loop: asyncio.AbstractEventLoop, done: Sequence[_Done]) -> None:
    if done:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            loop.call_soon_threadsafe(_settle, done)


def _settle(done: Sequence[_Done]) -> None:
    for future, result, error in done:
        if future.done():
            continue  # whoever waited was cancelled
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
