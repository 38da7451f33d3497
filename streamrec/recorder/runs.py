"""What is recorded of one channel: one take after another, and the account of its time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, TypeVar

import structlog

from streamrec.models import GapReason
from streamrec.recorder import tail
from streamrec.recorder.account import Account
from streamrec.recorder.diskfault import DiskFault, disk_reason
from streamrec.recorder.events import Closed, Opened, Skipped
from streamrec.recorder.rejoin import Tail
from streamrec.recorder.status import Status
from streamrec.recorder.tail import End
from streamrec.recorder.take import Take
from streamrec.recorder.telling import Teller
from streamrec.recorder.tools import Order, Tools

log = structlog.get_logger(__name__)
Result = TypeVar("Result")

REACH: Final = timedelta(minutes=2)  # no burst and no window that is read goes back further
SAME: Final = timedelta(milliseconds=2)  # no file is shorter
STEADY_SECONDS: Final = 30.0  # of an HLS attempt's media; before, playlists may be looked at closely


class Runs:
    """Begins, writes and ends the runs of a channel. For one capture, from its loop.

    One that `stands_by` keeps what comes in memory, and tells and writes nothing until `take_over`.
    """

    def __init__(
        self, order: Order, tools: Tools, status: Status, account: Account, archived: End, *, stands_by: bool
    ) -> None:
        self.order = order
        """Of the source that is recorded; holds from the next run on."""
        self.account = account
        self.teller = Teller(order, tools)
        self.take: Take | None = None
        """What is being recorded."""
        self.stands_by = stands_by
        self.is_on_disk = False
        self.waited_seconds = 0.0
        """How long the last write took."""
        self._tools = tools
        self._clock = tools.clock
        self._status = status
        self._files = deque(archived.files, maxlen=tail.FILES)
        self._kept: Take | None = None  # what was held while standing by, until it is written
        self._kept_tail: Tail | None = None
        self._write_began = 0.0
        self._syncing: asyncio.Future[None] | None = None
        self._is_listed = False  # as HLS is: nothing comes meanwhile that must be read at once

    @property
    def archived(self) -> End:
        """The end of the archive, for whoever goes on with it."""
        return End(tuple(self._files))

    def wanted_seconds(self) -> float | None:
        """How long ago the archive ended, if it may be gone on with there."""
        until = self.account.archived_until
        ago = self._clock.now() - until
        is_near = bool(self._files) and self._files[-1].end_time == until and abs(ago) <= REACH
        return max(0.0, ago.total_seconds()) if is_near else None

    async def take_over(self, account: Account, archived: End) -> None:
        """Write what was kept, from the archive's end on."""
        self.account = account
        self._files = deque(archived.files, maxlen=tail.FILES)
        kept = self.take
        self._kept_tail = await self._tail()
        self._kept = kept if kept is self.take else None
        self.stands_by = False

    # --- what comes

    async def open(self, opened: Opened) -> None:
        """Media begins; or it goes on as something else, and then one run ends where the next begins."""
        before = self.take
        self._is_listed = opened.source == "hls"
        if self.stands_by:
            self.take = Take(opened, self.order, self._tools)
        elif before is not None:
            before.flush()
            await self._write_held(before)
            await self._end(before, GapReason.SOURCE_ENDED)
            self.take = before.heir(opened)
        else:
            self.take = Take(opened, self.order, self._tools, tail=await self._tail())

    async def skip(self, before: Take, skipped: Skipped) -> None:
        """The station's media has a hole of known length: one run ends before it, and another begins behind it."""
        before.flush()
        await self._write_held(before)
        await self._end(before, GapReason.SOURCE_ERROR)
        log.warning("run ended", channel_id=self.order.channel_id, detail=skipped.detail)
        await self.teller.tell_anyway(lambda: self.account.lose(GapReason.SOURCE_ERROR, skipped.detail))
        self.take = before.heir(skipped_seconds=skipped.seconds)

    def received(self, take: Take) -> None:
        """Something came, and is in `take`."""
        self._go_on(take)
        if self.stands_by:
            self.take = take.kept()

    def _go_on(self, take: Take) -> None:
        """Look for the archive's end in what was kept, right before it is written: the clock steers in between."""
        if take is self._kept:
            self._kept = None
            take.order = self.order
            take.go_on_from(self._kept_tail)
            self._kept_tail = None

    async def go_along(self, take: Take) -> None:
        """Do what follows from what was received."""
        if self.stands_by:
            return
        if take.left_out_seconds:
            await self._write_held(take)
            await self._renew(take, GapReason.SOURCE_ERROR, f"The stream left out {take.left_out_seconds:.1f} s.")
        elif take.is_off():
            await self._renew(take, GapReason.CLOCK, "Media time and the wall clock came apart.")
        elif take.is_due(self._clock.monotonic()):
            await self._write(take)

    # --- the disk

    async def _write(self, take: Take) -> None:
        """Hand what has come to the disk; the first of a run ends the outage exactly there."""
        if not take.is_writing:
            if not await self._resume(take):
                return
            self._status.run_id = take.run_id
        self._write_began = self._clock.monotonic()
        is_steady = self._is_listed and take.media_seconds >= STEADY_SECONDS
        await self._on_disk(take.write, may_wait=is_steady)
        self._written(take)

    def works(self) -> None:
        """The take is being written by somebody else."""
        self.is_on_disk, self._write_began = True, self._clock.monotonic()

    def worked(self, *, well: bool) -> None:
        """It is not any more."""
        self.is_on_disk = False
        if well and self.take is not None:
            self._written(self.take)

    def _written(self, take: Take) -> None:
        self.account.recorded(take.written_until)
        self.waited_seconds += self._clock.monotonic() - self._write_began
        self._status.writes(take.writer, take.bit_rate)

    async def _write_held(self, take: Take) -> None:
        """Write what is there, with the best clock there is."""
        take.settle()
        if take.is_ready:
            await self._write(take)

    async def _on_disk(self, work: Callable[[], Result], *, may_wait: bool = False) -> Result:
        """Run blocking work in a thread; it is never abandoned half-way, even when this task is cancelled."""
        self.is_on_disk = True
        try:
            await self.synced()
            return await self._tools.disk.run(work, may_wait=may_wait)
        finally:
            self.is_on_disk = False

    def sync_if_overdue(self) -> None:
        """Have synced what was written long ago; what comes to the disk next waits for that, and hears of it."""
        writer = self.take.writer if self.take is not None else None
        if writer is not None and not self.is_on_disk and self._syncing is None and writer.is_overdue:
            self._syncing = asyncio.ensure_future(self._tools.disk.run(writer.sync_now))

    async def synced(self) -> None:
        """Wait for a sync that was begun. Raises DiskFault."""
        if self._syncing is None:
            return
        try:
            await asyncio.shield(self._syncing)
        finally:
            if self._syncing.done():
                self._syncing = None

    async def _tail(self) -> Tail | None:
        """The archive's end, if what comes now may go on there."""
        if self.wanted_seconds() is None:
            return None
        files = list(self._files)
        return await self._on_disk(lambda: tail.read(self._tools.archive, files))

    # --- where runs begin and end

    async def _resume(self, take: Take) -> bool:
        """End the outage where the take begins: at the archive's end if it was found, else by the clock."""
        account = self.account
        if take.is_rejoined:
            until = account.archived_until
            await self.teller.tell(account.rejoining, lambda: account.resume(until))
            return True
        start = take.start_after(account.covered_until)
        if start is not None:
            await self.teller.tell(lambda: account.resumption(start), lambda: account.resume(start))
        return start is not None

    async def _renew(self, take: Take, reason: GapReason, detail: str) -> None:
        """Time does not run on evenly here: end the run, and begin another with the same stream of bytes."""
        was_writing = take.is_writing
        await self._end(take, reason)
        log.warning("run ended", channel_id=self.order.channel_id, reason=reason, detail=detail)
        if was_writing:
            self.account.lose(reason, detail)
        self.take = take.successor()

    async def _end(self, take: Take, reason: GapReason) -> None:
        until = await self._on_disk(lambda: take.close(reason))
        self._files.extend(map(tail.of, take.closed))
        if until is not None:
            self.account.archived(until)

    async def end(self, closed: Closed) -> Closed:
        """The attempt is over: close the file. Why it ended, which is the disk if that fails now."""
        try:
            while self.take is not None and not self.stands_by:
                await self._finish(self.take, closed.reason)
        except (DiskFault, OSError) as exc:
            closed = self.spoiled(exc, self.take)
        self.take = None
        self._status.writes_nothing()
        return closed

    async def _finish(self, take: Take, reason: GapReason) -> None:
        """Write what is there and end the run; the one behind a hole that is known already is still to follow."""
        self._go_on(take)
        if take.left_out_seconds:
            await self.go_along(take)
            return
        take.flush()
        await self._write_held(take)
        await self._end(take, reason)
        self.take = None

    def spoiled(self, fault: DiskFault | OSError, take: Take | None) -> Closed:
        """The disk failed: after a DiskFault the account ends with what it has kept."""
        if take is not None:
            self._files.extend(map(tail.of, take.closed))
        self.take = None
        if isinstance(fault, DiskFault):
            self.account.covered_until = self._kept_until(fault.lost_from)
            return Closed(fault.reason, fault.detail)
        return Closed(disk_reason(fault), f"The disk does not work: {fault.strerror}.")

    def _kept_until(self, until: datetime) -> datetime:
        """Where the last file ends, if nothing was kept behind it: clocks count otherwise by some microseconds."""
        last = self._files[-1].end_time if self._files else until
        return last if abs(until - last) < SAME else until

    # --- outages

    async def finish(self, until: datetime | None) -> None:
        """Tell the time up to the end of the channel's order, or of an outage when only the recorder leaves."""
        if self.stands_by:
            return
        if until is not None:
            await self.teller.tell(
                lambda: self.account.finish(until, GapReason.DISABLED, "The channel was disabled.")
            )
        elif self.account.is_out:
            await self.teller.tell(lambda: self.account.note(self._clock.now()))
