"""A supervisor that hands a channel over, and reads how things stand at the worst moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from threading import Event
from uuid import UUID, uuid4

from streamrec.recorder.facts import Fact
from streamrec.recorder.holdings import Holdings
from streamrec.recorder.past import Told
from streamrec.recorder.placement.interface import Member, View
from streamrec.recorder.placement.memory import MemoryPlacement
from streamrec.recorder.records.interface import Account, Wanted
from streamrec.recorder.spool import Spool
from streamrec.recorder.supervisor import Supervisor
from streamrec.recorder.tools import Order
from tests.fakes import NOON
from tests.recorder.stage import staged


class SlowPlacement(MemoryPlacement):
    """Is seen just before a release, and answers only when whoever released has gone on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(time.monotonic)
        self._loop = loop
        self._was_seen_again, self._gone_on = Event(), Event()
        self._has_told = False  # that the successor is ready
        self.views = self.releases = 0

    @property
    def has_released(self) -> bool:
        """Whether a channel was let go of, and whoever did so has gone on since."""
        return self._gone_on.is_set()

    def view(self) -> View:
        seen = super().view()
        if any(each.is_ready for each in seen.assignments.values()):
            if self._has_told:
                self._was_seen_again.set()
                self._gone_on.wait(10)
            self._has_told = True
        self.views += 1
        return seen

    def release(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        self.releases += 1
        self._was_seen_again.wait(10)
        is_released = super().release(member_id, channel_id, epoch)
        self._loop.call_soon_threadsafe(self._loop.call_later, 0.1, self._gone_on.set)
        return is_released


class OneChannel:
    """Records of one channel, of which nothing is told."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._wanted = Wanted({order.channel_id: order}, {order.channel_id: {}})

    def wanted(self) -> Wanted:
        return self._wanted

    def account(self, _channel_id: int) -> Account:
        return Account(Told(NOON, None), [])

    def disabled_at(self, _channel_id: int) -> datetime | None:
        return None

    async def listen(self, woken: Callable[[], None]) -> None:
        """Nothing changes but by our own doing."""

    def unlisten(self) -> None:
        """See `listen`."""


class EmptiedSpool(Spool):
    """Whose facts are all rows already."""

    def pending(self, limit: int | None = None) -> list[Fact]:
        return []


def test_what_was_just_handed_over_is_not_captured_again_by_who_had_it(tmp_path: Path) -> None:
    """The assignments that it reads may be of a moment ago, in which it still had the channel."""

    async def scenario() -> int:
        async with staged(tmp_path) as stage:
            stage.spool.close()
            object.__setattr__(stage.tools, "spool", EmptiedSpool(tmp_path / "spool"))
            placement = SlowPlacement(asyncio.get_running_loop())
            holdings = Holdings(placement, Member(stage.tools.recorder_id, 10), monotonic=time.monotonic)
            holdings.join()
            supervisor = Supervisor(
                stage.tools, OneChannel(stage.order), holdings, poll_seconds=0.05, stop_seconds=2
            )
            task = asyncio.create_task(supervisor.run())
            try:
                await _until(supervisor, lambda: bool(stage.sources.attempts))
                other = Member(uuid4(), 10)
                placement.join(other)
                placement.offer(other.id, stage.order.channel_id, 1)
                placement.make_ready(other.id, stage.order.channel_id, 1)
                await _until(supervisor, lambda: placement.has_released)
                seen = placement.views
                await _until(supervisor, lambda: placement.views > seen + 5)
                return placement.releases
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await supervisor.stop()

    assert asyncio.run(scenario()) == 1


async def _until(supervisor: Supervisor, probe: Callable[[], bool]) -> None:
    """Wake the supervisor until something is so."""
    ends_at = time.monotonic() + 20
    while not probe():
        assert time.monotonic() < ends_at, "not in time"
        supervisor.wake_from_thread()
        await asyncio.sleep(0.01)
