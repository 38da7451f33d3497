"""Blocking work on files, done in threads: what is asked for in one turn of the loop shares the wake-ups.

A thread that is woken for each write of each capture costs more than the writes: at 100 radios 27 futex calls and
eight switches a second and channel.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import structlog

log = structlog.get_logger(__name__)
Result = TypeVar("Result")

SLOW_SECONDS: Final = 0.02  # a piece of work that takes longer gets a thread more for those behind it
PATIENCE_SECONDS: Final = 0.02  # so long the first results wait for the others'
COMPANY_SECONDS: Final = 0.25  # so long work that need not be done at once waits for other work at most

Told = Callable[[Any, BaseException | None], None]
"""What hears of a result, or of what was raised, on the loop."""


class _Job(NamedTuple):
    work: Callable[[], Any]
    told: Told


class _Done(NamedTuple):
    told: Told
    result: Any
    error: BaseException | None


class Disk:
    """Runs work of one event loop in `threads`. The order of pieces is not kept.

    One thread does what is asked for in a turn, as long as that is quick: writing is. Where it is slow others come
    to help, because the syncs of a file system run in company.
    """

    def __init__(self, threads: Executor, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._monotonic = monotonic
        self._jobs: deque[_Job] = deque()
        self._is_called = False
        self._later: asyncio.TimerHandle | None = None

    async def run(self, work: Callable[[], Result], *, may_wait: bool = False) -> Result:
        """What `work` returns or raises. It is done whole, even if whoever waits for it is cancelled."""
        future = asyncio.get_running_loop().create_future()
        self.submit(work, partial(_settle, future), may_wait=may_wait)
        result: Result = await future
        return result

    def submit(self, work: Callable[[], Any], told: Told, *, may_wait: bool = False) -> None:
        """Do `work`, and tell what came of it on the loop, from which this must be called.

        What `may_wait` is done with what else is asked for within COMPANY_SECONDS: one wake-up for all of it.
        """
        self._jobs.append(_Job(work, told))
        loop = asyncio.get_running_loop()
        if may_wait and not self._is_called:
            if self._later is None:
                ends_at = (loop.time() // COMPANY_SECONDS + 1) * COMPANY_SECONDS
                self._later = loop.call_at(ends_at, self._call, loop)
        elif not self._is_called:
            self._is_called = True
            loop.call_soon(self._call, loop)

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_called = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._threads.submit(self._work, loop)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do what there is, in a thread."""
        done: list[_Done] = []
        began = told_at = self._monotonic()
        while self._jobs:
            try:
                job = self._jobs.popleft()
            except IndexError:
                break  # another thread was faster
            done.append(_outcome(job))
            now = self._monotonic()
            if now - began > SLOW_SECONDS and self._jobs:
                with suppress(RuntimeError):  # the threads are told to end, and this one does the rest
                    self._threads.submit(self._work, loop)
            if now - told_at > PATIENCE_SECONDS:
                _tell(loop, done)
                done, told_at = [], now
            began = now
        _tell(loop, done)


def _outcome(job: _Job) -> _Done:
    try:
        return _Done(job.told, job.work(), None)
    except BaseException as exc:  # noqa: BLE001 - it is raised where the work was asked for
        return _Done(job.told, None, exc)


def _tell(loop: asyncio.AbstractEventLoop, done: Sequence[_Done]) -> None:
    if done:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            loop.call_soon_threadsafe(_pass_on, done)


def _pass_on(done: Sequence[_Done]) -> None:
    for told, result, error in done:
        try:
            told(result, error)
        except Exception:  # one that is broken must not keep the others waiting
            log.exception("a result of the disk was not taken")


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return  # whoever waited was cancelled
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
