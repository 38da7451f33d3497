"""Stand-ins for the machine's clock and for a station, that a test moves by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from streamrec.models import GapReason
from streamrec.recorder.events import Chunk, Closed, Event, Steady

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class WatchedThreads(ThreadPoolExecutor):
    """Threads that say whether they have anything left to do."""

    def __init__(self) -> None:
        super().__init__(2)
        self._unfinished: set[Future[Any]] = set()

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(*args, **kwargs)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    @property
    def is_busy(self) -> bool:
        return bool(self._unfinished)


class FakeClock:
    """A clock that moves only when `advance` is awaited; sleepers wake in order, each at its own time."""

    def __init__(self, start: datetime = NOON, *, threads: WatchedThreads | None = None) -> None:
        """While `threads` work, no time passes."""
        self._wall = start
        self._threads = threads
        self._seconds = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._seconds + seconds, next(self._numbers), future))
        await future

    def step(self, seconds: float) -> None:
        """Move the wall clock alone, as an administrator does."""
        self._wall += timedelta(seconds=seconds)

    async def advance(self, seconds: float, *, settle: Callable[[], object] = lambda: None) -> None:
        """Let time pass; whoever wakes runs before the next one does."""
        end = self._seconds + seconds
        await self.idle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, future = heapq.heappop(self._sleepers)
            self._move_to(at)
            if not future.done():
                future.set_result(None)
            await self.idle()
            settle()
        self._move_to(end)
        await self.idle()

    async def idle(self) -> None:
        """Let every task that can go on do so, and every thread finish."""
        for _ in range(10):
            await asyncio.sleep(0)
        while self._threads is not None and self._threads.is_busy:
            await asyncio.sleep(0.0005)
            if not self._threads.is_busy:
                for _ in range(10):
                    await asyncio.sleep(0)

    def _move_to(self, seconds: float) -> None:
        self._wall += timedelta(seconds=max(0.0, seconds - self._seconds))
        self._seconds = max(self._seconds, seconds)


class ScriptedSource:
    """An attempt that yields what a test pushes into it; a steady one may be polled after a while."""

    def __init__(self, clock: FakeClock, *, is_steady: bool = False) -> None:
        self._clock = clock
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._chunks_up_to_steady = 13 if is_steady else 1 << 30
        self.is_closed = False
        self.is_rung = False
        self.on_ring: Callable[[], None] | None = None

    def push(self, event: Event) -> None:
        """Let the capture see `event`."""
        self._queue.put_nowait(event)
        if isinstance(event, Closed):
            self.is_rung = True
            if self.on_ring is not None:
                self.on_ring()

    def leaves(self) -> bool:
        return False

    def poll(self) -> list[Event]:
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    def media(self, data: bytes) -> None:
        """Let bytes arrive now."""
        self.push(Chunk(data, self._clock.monotonic()))

    async def events(self) -> AsyncGenerator[Event]:
        while True:
            event = await self._queue.get()
            yield event
            if isinstance(event, Closed):
                return
            self._chunks_up_to_steady -= isinstance(event, Chunk)
            if self._chunks_up_to_steady == 0:
                yield Steady(self)

    async def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.push(Closed(GapReason.DISABLED, "The capture was stopped."))


class ScriptedSources:
    """Makes a ScriptedSource for every attempt, and keeps them."""

    def __init__(self, clock: FakeClock, *, are_steady: bool = False) -> None:
        self._clock = clock
        self._are_steady = are_steady
        self.attempts: list[ScriptedSource] = []
        self.addresses: list[object] = []

    def open(self, address: object) -> ScriptedSource:
        self.addresses.append(address)
        self.attempts.append(ScriptedSource(self._clock, is_steady=self._are_steady))
        return self.attempts[-1]
