"""One channel's captures: the one that records, and while that is on a backup, one that waits on the primary."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from streamrec.clock import Clock
from streamrec.models import GapReason
from streamrec.recorder import tail
from streamrec.recorder.background import first
from streamrec.recorder.capture import Capture
from streamrec.recorder.status import Status
from streamrec.recorder.tail import End
from streamrec.recorder.tools import Order, Tools

log = structlog.get_logger(__name__)


class Relay:
    """Keeps one channel recorded as a `Capture` does, and brings it back to its primary source without a hole.

    The primary is captured into memory meanwhile; once it has been healthy for `return_seconds`, the capture of
    the backup ends its file and this one goes on from there.
    """

    def __init__(
        self,
        order: Order,
        tools: Tools,
        *,
        covered_until: datetime,
        reason: GapReason,
        archived: End = tail.NOTHING,
        stands_by: bool = False,
    ) -> None:
        """As of a `Capture`."""
        self._tools = tools
        self._capture = Capture(
            order, tools, covered_until=covered_until, reason=reason, archived=archived, stands_by=stands_by
        )
        self._capture.on_look = self._look
        self._stands_by = stands_by
        self._primary: _Standby | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # of captures of the primary, also of those sent away
        self._is_time = asyncio.Event()  # to return
        self._is_stopping = False
        self._until: datetime | None = None

    @property
    def order(self) -> Order:
        """What is to be recorded."""
        return self._capture.order

    @property
    def status(self) -> Status:
        """Of the capture that records."""
        return self._capture.status

    @property
    def is_ready(self) -> bool:
        """Whether there is media that knows its time, so that this capture could take over."""
        return self._capture.is_ready

    @property
    def covered_until(self) -> datetime:
        """Up to where the channel's time is told."""
        return self._capture.covered_until

    async def take_over(self, order: Order, *, covered_until: datetime, reason: GapReason, archived: End) -> None:
        """The channel is this recorder's from now on: write what was kept, from the archive's end on."""
        self._stands_by = False
        await self._capture.take_over(order, covered_until=covered_until, reason=reason, archived=archived)

    def change(self, order: Order) -> None:
        """Follow a changed row."""
        if not self._is_time.is_set():
            self._dismiss()
        self._capture.change(order)

    def stop(self, until: datetime | None = None) -> None:
        """End: with `until`, the channel is not wanted from then on; without, only this recorder leaves."""
        self._is_stopping, self._until = True, until
        if not self._is_time.is_set():  # else whoever comes next is stopped
            self._dismiss()
            self._capture.stop(until)

    async def run(self) -> None:
        """Record until stopped. What goes wrong becomes gaps and retries, never an exception."""
        running = asyncio.create_task(self._capture.run())
        try:
            while not running.done():
                await first(asyncio.shield(running), self._is_time.wait())
                if self._is_time.is_set():
                    running = await self._return(running)
        finally:
            self._dismiss()
            for task in (running, *self._tasks):
                task.cancel()
            await asyncio.wait([running, *self._tasks])

    # --- the way back

    def _look(self) -> None:
        """Once a second: begin to wait on the primary, or see whether it has been healthy for long enough."""
        if self._is_time.is_set():
            return
        if self._capture.source_index == 0 or self._stands_by or self._is_stopping:
            self._dismiss()
        elif self._primary is None:
            self._primary = self._waiting_on_primary()
        elif self._primary.healthy_seconds(self._tools.clock) >= self._tools.limits.return_seconds:
            self._is_time.set()

    def _waiting_on_primary(self) -> _Standby:
        order, now = replace(self.order, backups=()), self._tools.clock.now()
        capture = Capture(order, self._tools, covered_until=now, reason=GapReason.SOURCE_ENDED, stands_by=True)
        task = asyncio.create_task(capture.run(), name=f"primary-{order.channel_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _Standby(capture, task)

    def _dismiss(self) -> None:
        primary, self._primary = self._primary, None
        if primary is not None:
            primary.capture.stop()

    async def _return(self, running: asyncio.Task[None]) -> asyncio.Task[None]:
        """Let the backup's capture end and the primary's go on where the archive ends; the latter's task."""
        backup, primary = self._capture, self._primary
        assert primary is not None
        backup.stop()
        await asyncio.wait([running])
        running.result()
        await primary.capture.take_over(
            backup.order,
            covered_until=backup.covered_until,
            reason=GapReason.SOURCE_ENDED,
            archived=backup.archived,
        )
        log.info("capture returned to its primary source", channel_id=backup.order.channel_id)
        self._capture, self._primary = primary.capture, None
        self._capture.on_look = self._look
        self._tasks.discard(primary.task)
        self._is_time.clear()
        if self._is_stopping:
            self._capture.stop(self._until)
        return primary.task


@dataclass(slots=True)
class _Standby:
    """A capture of the primary into memory."""

    capture: Capture
    task: asyncio.Task[None]
    _restarts: int = 0
    _since: float | None = None

    def healthy_seconds(self, clock: Clock) -> float:
        """For how long it has had media without an attempt that ended; to be asked once a second."""
        now, restarts = clock.monotonic(), self.capture.status.restarts
        if not self.capture.is_ready or restarts != self._restarts:
            self._since, self._restarts = None, restarts
            return 0.0
        self._since = now if self._since is None else self._since
        return now - self._since
