"""One channel's capture: attempts, runs and gaps, from the order to record until the order to stop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, TypeVar
from urllib.parse import urlsplit

import structlog

from streamrec.models import CaptureState, GapReason
from streamrec.recorder import state, tail, watchdog
from streamrec.recorder.account import Account
from streamrec.recorder.background import first
from streamrec.recorder.events import Chunk, Closed, Event, Opened, Pump, Skipped, Source, Steady, Title
from streamrec.recorder.facts import GapNoted
from streamrec.recorder.feed import Feed
from streamrec.recorder.moves import Moves
from streamrec.recorder.rejoin import Tail
from streamrec.recorder.rotation import Rotation
from streamrec.recorder.status import Status, shown_title
from streamrec.recorder.tail import End
from streamrec.recorder.take import Take
from streamrec.recorder.telling import Teller
from streamrec.recorder.tools import Order, Tools
from streamrec.recorder.watchdog import Watchdog
from streamrec.recorder.writer import DiskFault, disk_reason

log = structlog.get_logger(__name__)
Result = TypeVar("Result")

REACH: Final = timedelta(minutes=2)  # no burst and no window that is read goes back further


class Capture:
    """Keeps one channel recorded. `run` it as a task; `change` and `stop` it from the same loop."""

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
        """`covered_until` is where the account of the channel ends; `reason` is why nothing was recorded since.

        `archived` is the end of its archive, on which the capture may go on. One that `stands_by` keeps what comes
        in memory, and tells and writes nothing until `take_over`.
        """
        self.order = order
        self._tools = tools
        self._clock = tools.clock
        began = tools.clock.now()
        self.status = Status(since=began)
        self._stands_by = stands_by
        self._kept: Take | None = None  # what was held while standing by, until it is written
        self._kept_tail: Tail | None = None
        self._account = self._begun(covered_until, reason, archived)
        self._backoff = state.Backoff(tools.retry_cap_seconds)
        self._rotation = Rotation(order, tools.limits, tools.clock.monotonic())
        self._files = deque(archived.files, maxlen=tail.FILES)
        self._take: Take | None = None
        self._watchdog: Watchdog | None = None
        self._verdict: Closed | None = None
        self._teller = Teller(order, tools)
        self._stop_until: datetime | None = None
        self._is_stopping = False
        self._woken = asyncio.Event()
        self._is_on_disk = False
        self._moves = Moves(tools.clock)
        self.on_look: Callable[[], None] = lambda: None  # called with the beat, so that nobody needs one more
        self._write_began = 0.0
        self._is_probe = False  # of a dead host with many channels, which must not fill the log

    def _begun(self, covered_until: datetime, reason: GapReason, archived: End) -> Account:
        told = archived.gaps if archived.gaps and archived.gaps[-1].end_time == covered_until else ()
        began = self._clock.now()
        return Account(self.order.channel_id, covered_until=covered_until, began=began, reason=reason, told=told)

    @property
    def source_index(self) -> int:
        """Which of the channel's sources is captured, or tried."""
        return self._rotation.index

    @property
    def archived(self) -> End:
        """The end of the archive, for whoever goes on with it."""
        return End(tuple(self._files))

    @property
    def is_ready(self) -> bool:
        """Whether there is media that knows its time, so that this capture could take over."""
        return self._take is not None and self._take.is_ready

    async def take_over(self, order: Order, *, covered_until: datetime, reason: GapReason, archived: End) -> None:
        """The channel is this recorder's from now on: write what was kept, from the archive's end on."""
        self.order = self._teller.order = order
        self._rotate(order)
        self._account = self._begun(covered_until, reason, archived)
        self._files = deque(archived.files, maxlen=tail.FILES)
        kept = self._take
        self._kept_tail = await self._tail()
        self._kept = kept if kept is self._take else None
        self._stands_by = False

    def _go_on(self, take: Take) -> None:
        """Look for the archive's end in what was kept, right before it is written: the clock steers in between."""
        if take is self._kept:
            self._kept = None
            take.order = self._rotation.of(self.order)
            take.go_on_from(self._kept_tail)
            self._kept_tail = None

    @property
    def covered_until(self) -> datetime:
        """Up to where the channel's time is told."""
        return self._account.covered_until

    # --- orders from outside

    def change(self, order: Order) -> None:
        """Follow a changed row: another address begins a new attempt, the rest holds from the next file or cut."""
        self.order = self._teller.order = order
        self._rotate(order)
        if self._take is not None:
            self._take.order = self._rotation.of(order)

    def _rotate(self, order: Order) -> None:
        """Stay with the source that is recorded, if the order still has it."""
        if self._rotation.change(order):
            self._end_attempt(Closed(GapReason.DISABLED, "The channel was given another address."))

    def stop(self, until: datetime | None = None) -> None:
        """End: with `until`, the channel is not wanted from then on; without, only this recorder leaves."""
        self._is_stopping, self._stop_until = True, until
        self._end_attempt(Closed(GapReason.DISABLED, "The channel was disabled."))

    def _end_attempt(self, verdict: Closed) -> None:
        self._verdict = self._verdict or verdict
        self._woken.set()

    # --- the life of a capture

    async def run(self) -> None:
        """Record until stopped. What goes wrong becomes gaps and retries, never an exception."""
        with self._tools.beat.felt_by(self._look):
            while not self._is_stopping:
                self._move(CaptureState.STARTING)
                closed = await self._attempt()
                if not self._is_stopping:
                    await self._retreat(closed)
            self._move(CaptureState.STOPPING)
            await self._finish()
            self._move(CaptureState.STOPPED)

    def _move(self, new: CaptureState) -> None:
        old, self.status.state = self.status.state, state.move(self.status.state, new)
        self.status.since = self._clock.now()
        error, is_quiet = self.status.last_error, self._is_probe
        self._moves.say(self.order.channel_id, old, new, error, is_quiet=is_quiet)
        self._tools.on_change(self.order.channel_id)

    async def _retreat(self, closed: Closed) -> None:
        """Wait before the next attempt."""
        now = self._clock.monotonic()
        delay = self._backoff.delay(closed.reason, now, closed.retry_after_seconds)
        if self._rotation.failed(closed.reason, now):
            delay = 0.0  # another source has not failed yet
        self.status.last_error = closed.detail
        self.status.restarts += 1
        self._tools.totals.restarts += 1
        self._move(CaptureState.BACKOFF)
        await first(self._woken.wait(), self._clock.sleep(delay))

    async def _finish(self) -> None:
        """Tell the time up to the end of the channel's order, or of an outage when only the recorder leaves."""
        until = self._stop_until
        if self._stands_by:
            return
        if until is not None:
            await self._teller.tell(
                lambda: self._account.finish(until, GapReason.DISABLED, "The channel was disabled.")
            )
        elif self._account.is_out:
            await self._teller.tell(lambda: self._account.note(self._clock.now()))

    # --- one attempt

    async def _attempt(self) -> Closed:
        """Open the source once and record what comes; why it ended."""
        self._woken.clear()
        self._verdict = None
        host = urlsplit(self._rotation.address.url).netloc
        turn = await self._tools.gate.enter_unless(self._woken, host)
        if turn is None:
            return self._verdict or Closed(GapReason.DISABLED, "The capture was stopped.")
        self._is_probe = turn.is_probe
        self._watchdog = Watchdog(self._clock.monotonic())
        self._rotation.begin(self._clock.monotonic())
        self.status.source_index = self._rotation.index
        source = self._tools.sources.open(replace(self._rotation.address, wanted_seconds=self._wanted_seconds()))
        watcher = asyncio.create_task(self._close_when_woken(source))
        closed = Closed(GapReason.UNKNOWN, "The source ended without a word.")
        try:
            async with aclosing(source.events()) as events:
                async for event in events:
                    if isinstance(event, Closed):
                        closed = event
                    elif isinstance(event, Steady):
                        closed = await self._fed_by(event.pump)
                        break
                    else:
                        if isinstance(event, Opened):
                            turn.good()
                        await self._handle(event)
        except (DiskFault, OSError) as exc:
            closed = self._spoiled(exc, self._take)
        finally:
            if self._verdict is not None and self._verdict.reason is GapReason.DISABLED:
                turn.give_back()
            turn.end()
            self._is_probe = self._is_probe and turn.is_probe
            watcher.cancel()
            self._watchdog = None
        return await self._ended(watchdog.agreed(self._verdict, closed))

    async def _close_when_woken(self, source: Source) -> None:
        """End the attempt once there is a verdict, whoever gave it."""
        await self._woken.wait()
        await source.close()

    async def _handle(self, event: Event) -> None:
        if isinstance(event, Title):
            self.status.title = shown_title(event.text)
        elif isinstance(event, Opened):
            await self._open(event)
        elif isinstance(event, Skipped) and self._take is not None:
            await self._skip(self._take, event)
        elif isinstance(event, Chunk) and self._take is not None:
            await self._record(self._take, event)

    async def _open(self, opened: Opened) -> None:
        """Media begins; or it goes on as something else, and then one run ends where the next begins."""
        before = self._take
        if self._watchdog is not None:
            self._watchdog.is_continuous = opened.source == "icy"
        if self._stands_by:
            self._take = Take(opened, self._rotation.of(self.order), self._tools)
        elif before is not None:
            before.flush()
            await self._write_held(before)
            await self._end_run(before, GapReason.SOURCE_ENDED)
            self._take = before.heir(opened)
        else:
            order = self._rotation.of(self.order)
            self._take = Take(opened, order, self._tools, tail=await self._tail())
        self.status.codecs = opened.codecs

    async def _skip(self, before: Take, skipped: Skipped) -> None:
        """The station's media has a hole of known length: one run ends before it, and another begins behind it."""
        before.flush()
        await self._write_held(before)
        await self._end_run(before, GapReason.SOURCE_ERROR)
        log.warning("run ended", channel_id=self.order.channel_id, detail=skipped.detail)
        await self._teller.tell_anyway(lambda: self._account.lose(GapReason.SOURCE_ERROR, skipped.detail))
        self._take = before.heir(skipped_seconds=skipped.seconds)

    async def _tail(self) -> Tail | None:
        """The archive's end, if what comes now may go on there."""
        if self._wanted_seconds() is None:
            return None
        files = list(self._files)
        return await self._on_disk(lambda: tail.read(self._tools.archive, files))

    def _wanted_seconds(self) -> float | None:
        """How long ago the archive ended, if it may be gone on with there."""
        until = self._account.archived_until
        ago = self._clock.now() - until
        is_near = bool(self._files) and self._files[-1].end_time == until and abs(ago) <= REACH
        return max(0.0, ago.total_seconds()) if is_near else None

    async def _record(self, take: Take, chunk: Chunk) -> None:
        self._receive(take, chunk)
        await self._go_along(take)

    def _receive(self, take: Take, chunk: Chunk) -> None:
        self._tools.totals.media_bytes += len(chunk.data)
        if take.receive(chunk) and self.status.state is CaptureState.STARTING:
            self.status.last_error = None
            self._move(CaptureState.RUNNING)
        if self._watchdog is not None and take.has_news:
            self._watchdog.progress(take.media_seconds, self._clock.monotonic())
            self._backoff.good(take.media_seconds)
            self._rotation.media(take.media_seconds, self._clock.monotonic())
        self._go_on(take)
        if self._stands_by:
            self._take = take.kept()

    async def _go_along(self, take: Take) -> None:
        """Do what follows from what was received."""
        if self._stands_by:
            return
        if take.left_out_seconds:
            await self._write_held(take)
            await self._renew(take, GapReason.SOURCE_ERROR, f"The stream left out {take.left_out_seconds:.1f} s.")
        elif take.is_off():
            await self._renew(take, GapReason.CLOCK, "Media time and the wall clock came apart.")
        elif take.is_due(self._clock.monotonic()):
            await self._write(take)

    async def _write(self, take: Take) -> None:
        """Hand what has come to the disk; the first of a run ends the outage exactly there."""
        if not take.is_writing:
            if not await self._resume(take):
                return
            self.status.run_id = take.run_id
        self._write_began = self._clock.monotonic()
        await self._on_disk(take.write)
        self._written(take)

    def _written(self, take: Take) -> None:
        self._account.recorded(take.written_until)
        if self._watchdog is not None:  # what waited for our disk is no fault of the station
            self._watchdog.forgive(self._clock.monotonic() - self._write_began)
        self.status.writes(take.writer, take.bit_rate)

    # --- what is read on the beat

    async def _fed_by(self, pump: Pump) -> Closed:
        """Record what is polled; only what is out of the ordinary comes back to this task. Why it ended."""
        feed = Feed(pump, self, self._tools.disk)
        with feed.on(self._tools.beat):
            while True:
                for event in await feed.unusual():
                    if isinstance(event, Closed):
                        return event
                    await self._handle(event)
                if self._take is not None:
                    await self._go_along(self._take)

    @property
    def take_to_write(self) -> Take | None:
        return None if self._stands_by else self._take

    def takes(self, event: Event) -> bool:
        if isinstance(event, Title):
            self.status.title = shown_title(event.text)
        elif isinstance(event, Chunk) and self._take is not None:
            self._receive(self._take, event)
        else:
            return False
        return True

    def works(self) -> None:
        self._is_on_disk, self._write_began = True, self._clock.monotonic()

    def worked(self, *, well: bool) -> None:
        self._is_on_disk = False
        if well and self._take is not None:
            self._written(self._take)

    async def _resume(self, take: Take) -> bool:
        """End the outage where the take begins: at the archive's end if it was found, else by the clock."""
        account = self._account
        if take.is_rejoined:
            until = account.archived_until
            await self._teller.tell(account.rejoining, lambda: account.resume(until))
            return True
        start = take.start_after(account.covered_until)
        if start is not None:
            await self._teller.tell(lambda: account.resumption(start), lambda: account.resume(start))
        return start is not None

    async def _renew(self, take: Take, reason: GapReason, detail: str) -> None:
        """Time does not run on evenly here: end the run, and begin another with the same stream of bytes."""
        was_writing = take.is_writing
        await self._end_run(take, reason)
        log.warning("run ended", channel_id=self.order.channel_id, reason=reason, detail=detail)
        if was_writing:
            self._account.lose(reason, detail)
        self._take = take.successor()

    async def _ended(self, closed: Closed) -> Closed:
        """The attempt is over: close the file, and let the account say why nothing is recorded."""
        take, self._take = self._take, None
        if take is not None and not self._stands_by:
            try:
                self._go_on(take)
                take.flush()
                await self._write_held(take)
                await self._end_run(take, closed.reason)
            except (DiskFault, OSError) as exc:
                closed = self._spoiled(exc, take)
        self.status.writes_nothing()
        if not self._is_stopping and not self._stands_by:
            await self._teller.tell_anyway(lambda: self._account.lose(closed.reason, closed.detail))
        return closed

    async def _write_held(self, take: Take) -> None:
        """Write what is there, with the best clock there is."""
        take.settle()
        if take.is_ready:
            await self._write(take)

    async def _end_run(self, take: Take, reason: GapReason) -> None:
        until = await self._on_disk(lambda: take.close(reason))
        self._files.extend(map(tail.of, take.closed))
        if until is not None:
            self._account.archived(until)

    def _spoiled(self, fault: DiskFault | OSError, take: Take | None) -> Closed:
        """The disk failed: after a DiskFault the account ends with what it has kept."""
        if take is not None:
            self._files.extend(map(tail.of, take.closed))
        self._take = None
        if isinstance(fault, DiskFault):
            self._account.covered_until = fault.lost_from
            return Closed(fault.reason, fault.detail)
        return Closed(disk_reason(fault), f"The disk does not work: {fault.strerror}.")

    # --- telling and watching

    async def _on_disk(self, work: Callable[[], Result]) -> Result:
        """Run blocking work in a thread; it is never abandoned half-way, even when this task is cancelled."""
        self._is_on_disk = True
        try:
            return await self._tools.disk.run(work)
        finally:
            self._is_on_disk = False

    def _look(self) -> None:
        """Once a second: judge the media's progress, and keep the row of an outage young."""
        now = self._clock.monotonic()
        if self._watchdog is not None and not self._is_on_disk and not self._woken.is_set():
            reason = self._watchdog.verdict(now)
            if reason is not None:
                self._end_attempt(Closed(reason, watchdog.WORDS[reason]))
            elif self._rotation.is_spent(now):
                self._end_attempt(Closed(GapReason.STALLED, watchdog.WORDS[GapReason.STALLED]))
        if self._account.is_out and not self._stands_by:
            self._teller.refresh(self._note)
        self.on_look()

    def _note(self) -> GapNoted | None:
        """The outage so far; once the capture ends, `_finish` has the last word on it."""
        return None if self._is_stopping else self._account.note(self._clock.now())
