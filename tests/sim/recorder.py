"""A recorder as the worker puts it together, on simulated surroundings, as a process of the virtual loop."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from streamrec.archive.files import Tree
from streamrec.models import CaptureState
from streamrec.recorder import rows
from streamrec.recorder.beat import Beat
from streamrec.recorder.disk import Disk
from streamrec.recorder.gate import Gate
from streamrec.recorder.holdings import Holdings
from streamrec.recorder.ledger import BATCH, GATHER_SECONDS, Ledger
from streamrec.recorder.placement.interface import Member
from streamrec.recorder.spool import Spool
from streamrec.recorder.status import Totals
from streamrec.recorder.supervisor import Supervisor
from streamrec.recorder.tools import Tools
from tests.sim.network import Network
from tests.sim.store import Line, Settling, Store
from tests.sim.virtual import RUNNING_AS, Inline, Process, VirtualClock

HEARTBEAT_SECONDS: Final = 2.0
POLL_SECONDS: Final = 2.0
STOP_SECONDS: Final = 4.0
CAPACITY: Final = 500


@dataclass(frozen=True, slots=True)
class Moved:
    """A capture's state, from a moment on."""

    at: float
    recorder: str
    channel_id: int
    state: CaptureState


class News(threading.Event):
    """Wakes a task of the loop in the place of a thread."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = asyncio.Event()

    def set(self) -> None:
        super().set()
        self._waiting.set()

    def clear(self) -> None:
        super().clear()
        self._waiting.clear()

    async def come(self, seconds: float) -> None:
        """Wait for it, but no longer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._waiting.wait()


class Recorder:
    """Begun by `start`; `kill`, `freeze` and `drain` are what may befall it."""

    def __init__(
        self, name: str, folder: Path, store: Store, network: Network, moves: list[Moved], seed: int
    ) -> None:
        dice = random.Random(f"{seed} {name}")
        self.name = name
        self.process = Process(name)
        self.id = UUID(int=dice.getrandbits(128))
        self.line = Line(store)
        self.settling = Settling(store)
        self._loop, self._network, self._moves = store.loop, network, moves
        self._clock = VirtualClock(store.loop)
        self._folder, self._dice = folder / name, dice
        self._tasks: list[asyncio.Task[None]] = []
        self.is_gone = False

    def start(self) -> None:
        """As a process: whatever this begins belongs to it."""
        before = RUNNING_AS.set(self.process)
        try:
            self._build()
            beginnings = (self.supervisor.run(), self._heart(), self._replay())
            self._tasks = [asyncio.create_task(each, name=self.name) for each in beginnings]
        finally:
            RUNNING_AS.reset(before)

    def _build(self) -> None:
        clock = self._clock
        member = Member(self.id, CAPACITY)
        self.holdings = Holdings(self.line, member, monotonic=clock.monotonic)
        self.holdings.join()
        self.spool = Spool(self._folder / "spool")
        self.spool.has_news = News()
        self.archive = Tree(self._folder / "archive")
        self.ledger = Ledger(
            self.spool,
            refused=self._folder / "refused.txt",
            late=self.settling,
            may_write=lambda: self.holdings.is_sure,
            book=self.line,
            monotonic=clock.monotonic,
        )
        tools = Tools(
            clock=clock,
            sources=self._network,
            archive=self.archive,
            spool=self.spool,
            disk=Disk(Inline(), clock.monotonic),
            gate=Gate(clock, uniform=self._dice.uniform),
            beat=Beat(clock),
            totals=Totals(),
            recorder_id=self.id,
            uniform=self._dice.uniform,
            on_change=self._changed,
        )
        self.supervisor = Supervisor(
            tools, self.line, self.holdings, poll_seconds=POLL_SECONDS, stop_seconds=STOP_SECONDS - 1
        )

    def _changed(self, channel_id: int) -> None:
        capture = self.supervisor.captures.get(channel_id)
        if capture is not None:
            self._moves.append(Moved(self._loop.time(), self.name, channel_id, capture.status.state))

    # --- what the worker does in threads

    async def _heart(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await asyncio.to_thread(rows.attempted, self.holdings.beat)

    async def _replay(self) -> None:
        news = self.spool.has_news
        assert isinstance(news, News)
        while True:
            if replayed := await asyncio.to_thread(self.ledger.step):
                await asyncio.sleep(GATHER_SECONDS if replayed < BATCH else 0)
                continue
            if self.ledger.is_failing:
                await asyncio.sleep(self.ledger.pause)
                continue
            await news.come(self.ledger.pause)
            await asyncio.sleep(GATHER_SECONDS)
            news.clear()

    # --- what befalls it

    @property
    def is_alive(self) -> bool:
        return bool(self._tasks) and not self.is_gone

    def kill(self) -> None:
        """kill -9: between two callbacks, and nothing of it runs again."""
        self.is_gone = True
        self._loop.freeze(self.process)
        self._network.drop(self.name)
        self.line.unlisten()

    async def drain(self) -> None:
        """SIGTERM, as the worker obeys it."""
        await self._as_process(self._part())

    async def _part(self) -> None:
        if self.supervisor.has_peers and await asyncio.to_thread(rows.attempted, self.holdings.drain):
            await self.supervisor.hand_over(STOP_SECONDS / 2)
        self._tasks[0].cancel()
        await asyncio.wait(self._tasks[:1])
        await self.supervisor.stop()
        while self.spool.pending(1) and self.ledger.step():
            pass
        self.is_gone = True
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        rows.attempted(self.holdings.leave)

    async def _as_process(self, work: Coroutine[Any, Any, None]) -> None:
        before = RUNNING_AS.set(self.process)
        task = asyncio.create_task(work)
        RUNNING_AS.reset(before)
        await task

    def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT so much later."""
        self._loop.freeze(self.process)
        self._loop.call_later(seconds, partial(self._loop.thaw, self.process))

    def close(self) -> None:
        """Close its files."""
        if self._tasks:
            self.spool.close()
            self.archive.close()
