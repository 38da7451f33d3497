"""One channel's capture: attempts, runs and gaps, from the order to record until the order to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

from streamrec.models import CaptureState, GapReason
from streamrec.recorder import state, tail, watchdog
from streamrec.recorder.account import Account
from streamrec.recorder.background import first
from streamrec.recorder.diskfault import DiskFault
from streamrec.recorder.events import Chunk, Closed, Event, Opened, Pump, Skipped, Source, Steady, Title
from streamrec.recorder.facts import GapNoted
from streamrec.recorder.feed import Feed
from streamrec.recorder.moves import Moves
from streamrec.recorder.rotation import Rotation
from streamrec.recorder.runs import Runs
from streamrec.recorder.status import Status, shown_title
from streamrec.recorder.tail import End
from streamrec.recorder.take import Take
from streamrec.recorder.tools import Order, Tools
from streamrec.recorder.watchdog import Watchdog


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
        self._backoff = state.Backoff(tools.retry_cap_seconds, tools.uniform)
        self._rotation = Rotation(order, tools.limits, tools.clock.monotonic())
        account = self._begun(covered_until, reason, archived)
        self._runs = Runs(self._rotation.of(order), tools, self.status, account, archived, stands_by=stands_by)
        self._watchdog: Watchdog | None = None
        self._verdict: Closed | None = None
        self._stop_until: datetime | None = None
        self._is_stopping = False
        self._woken = asyncio.Event()
        self._moves = Moves(tools.clock)
        self.on_look: Callable[[], None] = lambda: None  # called with the beat, so that nobody needs one more
        self._is_fed = False  # each beat, and written as often
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
        return self._runs.archived

    @property
    def is_ready(self) -> bool:
        """Whether there is media that knows its time, so that this capture could take over."""
        take = self._runs.take
        return take is not None and take.is_ready

    async def take_over(self, order: Order, *, covered_until: datetime, reason: GapReason, archived: End) -> None:
        """The channel is this recorder's from now on: write what was kept, from the archive's end on."""
        self._follow(order)
        await self._runs.take_over(self._begun(covered_until, reason, archived), archived)

    @property
    def covered_until(self) -> datetime:
        """Up to where the channel's time is told."""
        return self._runs.account.covered_until

    # --- orders from outside

    def change(self, order: Order) -> None:
        """Follow a changed row: another address begins a new attempt, the rest holds from the next file or cut."""
        self._follow(order)
        if self._runs.take is not None:
            self._runs.take.order = self._runs.order

    def _follow(self, order: Order) -> None:
        """Stay with the source that is recorded, if the order still has it."""
        self.order = self._runs.teller.order = order
        if self._rotation.change(order):
            self._end_attempt(Closed(GapReason.DISABLED, "The channel was given another address."))
        self._runs.order = self._rotation.of(order)

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
            await self._runs.finish(self._stop_until)
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
        self._runs.order = self._rotation.of(self.order)
        source = self._tools.sources.open(
            replace(self._rotation.address, wanted_seconds=self._runs.wanted_seconds())
        )
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
                    del event
        except (DiskFault, OSError) as exc:
            closed = self._runs.spoiled(exc, self._runs.take)
        finally:
            if self._verdict is not None and self._verdict.reason is GapReason.DISABLED:
                turn.give_back()
            turn.end()
            self._is_probe = self._is_probe and turn.is_probe
            watcher.cancel()
            self._watchdog = None
            self._is_fed = False
        return await self._ended(watchdog.agreed(self._verdict, closed))

    async def _close_when_woken(self, source: Source) -> None:
        """End the attempt once there is a verdict, whoever gave it."""
        await self._woken.wait()
        await source.close()

    async def _handle(self, event: Event) -> None:
        take = self._runs.take
        if isinstance(event, Title):
            self.status.title = shown_title(event.text)
        elif isinstance(event, Opened):
            if self._watchdog is not None:
                self._watchdog.is_continuous = event.is_continuous
            await self._runs.open(event)
            self.status.codecs = event.codecs
        elif isinstance(event, Skipped) and take is not None:
            await self._runs.skip(take, event)
        elif isinstance(event, Chunk) and take is not None:
            self._receive(take, event)
            await self._runs.go_along(take)
        self._forgive()

    def _receive(self, take: Take, chunk: Chunk) -> None:
        self._tools.totals.media_bytes += len(chunk.data)
        if take.receive(chunk) and self.status.state is CaptureState.STARTING:
            self.status.last_error = None
            self._move(CaptureState.RUNNING)
        if self._watchdog is not None and take.has_news:
            seconds, now = take.media_seconds, self._clock.monotonic()
            self._watchdog.progress(seconds, now)
            self._backoff.good(seconds)
            self._rotation.media(seconds, now)
        self._runs.received(take)

    def _forgive(self) -> None:
        """What waited for our disk is no fault of the station."""
        if self._watchdog is not None and self._runs.waited_seconds:
            self._watchdog.forgive(self._runs.waited_seconds)
        self._runs.waited_seconds = 0.0

    async def _ended(self, closed: Closed) -> Closed:
        """The attempt is over: let the account say why nothing is recorded."""
        closed = await self._runs.end(closed)
        if not self._is_stopping and not self._runs.stands_by:
            account = self._runs.account
            await self._runs.teller.tell_anyway(lambda: account.lose(closed.reason, closed.detail))
        return closed

    # --- what is read on the beat

    async def _fed_by(self, pump: Pump) -> Closed:
        """Record what is polled; only what is out of the ordinary comes back to this task. Why it ended."""
        feed = Feed(pump, self, self._tools.disk)
        self._is_fed = True
        await self._runs.synced()
        with feed.on(self._tools.beat):
            while True:
                for event in await feed.unusual():
                    if isinstance(event, Closed):
                        return event
                    await self._handle(event)
                    del event
                if self._runs.take is not None:
                    await self._runs.go_along(self._runs.take)
                    self._forgive()

    @property
    def take_to_write(self) -> Take | None:
        return None if self._runs.stands_by else self._runs.take

    def takes(self, event: Event) -> bool:
        if isinstance(event, Title):
            self.status.title = shown_title(event.text)
        elif isinstance(event, Chunk) and self._runs.take is not None:
            self._receive(self._runs.take, event)
        else:
            return False
        return True

    def came(self) -> None:
        if self._watchdog is not None:
            self._watchdog.came(self._clock.monotonic())

    def works(self) -> None:
        self._runs.works()

    def worked(self, *, well: bool) -> None:
        self._runs.worked(well=well)
        self._forgive()

    # --- watching

    def _look(self) -> None:
        """Once a second: judge the media's progress, and keep the row of an outage young."""
        now = self._clock.monotonic()
        if self._watchdog is not None and not self._runs.is_on_disk and not self._woken.is_set():
            reason = self._watchdog.verdict(now)
            if reason is not None:
                self._end_attempt(Closed(reason, watchdog.WORDS[reason]))
            elif self._rotation.is_spent(now):
                self._end_attempt(Closed(GapReason.STALLED, watchdog.WORDS[GapReason.STALLED]))
        if not self._is_fed:
            self._runs.sync_if_overdue()
        if self._runs.account.is_out and not self._runs.stands_by:
            self._runs.teller.refresh(self._note)
        self.on_look()

    def _note(self) -> GapNoted | None:
        """The outage so far; once the capture ends, `Runs.finish` has the last word on it."""
        return None if self._is_stopping else self._runs.account.note(self._clock.now())
