"""What ought to be captured against what is: a pure comparison, and the loop that acts on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from streamrec.errors import Unavailable
from streamrec.models import GapReason
from streamrec.recorder import past, tail
from streamrec.recorder.background import first
from streamrec.recorder.holdings import Held, Holdings, Look
from streamrec.recorder.records.interface import Records
from streamrec.recorder.relay import Relay
from streamrec.recorder.spool import Spool
from streamrec.recorder.tools import Order, Tools

log = structlog.get_logger(__name__)

RACE_SECONDS: Final = 0.5  # at most; so that not all claim a dead recorder's channels at once
STANDBY_TICK: Final = 0.2
HAND_OVER_TICK: Final = 0.05
ROWS_SECONDS: Final = 5.0  # for the last rows of a channel that is handed over


@dataclass(frozen=True, slots=True)
class Start:
    """Begin to capture."""

    order: Order


@dataclass(frozen=True, slots=True)
class Change:
    """Go on, by another order."""

    order: Order


@dataclass(frozen=True, slots=True)
class Stop:
    """End the capture."""

    channel_id: int


def reconcile(wanted: Mapping[int, Order], running: Mapping[int, Order]) -> list[Start | Change | Stop]:
    """What must be done so that `wanted` runs. Pure.

    An order of another epoch is stopped first and started in the next round: somebody may have written between.
    """
    both = sorted(wanted.keys() & running.keys())
    fenced = {channel_id for channel_id in both if wanted[channel_id].epoch != running[channel_id].epoch}
    changed = [
        id_
        for id_ in both
        if wanted[id_] is not running[id_] and id_ not in fenced and wanted[id_] != running[id_]
    ]
    return [
        *(Stop(channel_id) for channel_id in sorted((running.keys() - wanted.keys()) | fenced)),
        *(Change(wanted[channel_id]) for channel_id in changed),
        *(Start(wanted[channel_id]) for channel_id in sorted(wanted.keys() - running.keys())),
    ]


class Supervisor:
    """Keeps captured what this recorder holds. All methods run on the event loop; stores are asked in threads."""

    def __init__(
        self,
        tools: Tools,
        records: Records,
        holdings: Holdings,
        *,
        poll_seconds: float,
        stop_seconds: float,
        inherited: Callable[[], Sequence[Spool]] = tuple,
    ) -> None:
        """`inherited` are spools of other recorders whose facts are not rows yet."""
        self._tools = tools
        self._records = records
        self._holdings = holdings
        self._poll_seconds = poll_seconds
        self._stop_seconds = stop_seconds
        self._inherited = inherited
        self._known: dict[int, tuple[Order, Order]] = {}  # as read, and with our epoch
        self._captures: dict[int, Relay] = {}
        self._standing_by: dict[int, Relay] = {}
        self._handing_over: dict[int, asyncio.Task[None]] = {}
        self._given_away: dict[int, int] = {}  # with their epochs: what is read may be of a moment before
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ended: dict[int, datetime] = {}
        self._superseded: set[Relay] = set()
        self._stops: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_away = False
        self._wait_seconds = poll_seconds
        self.has_peers = False
        """Whether other recorders live that could take over what this one holds."""

    @property
    def captures(self) -> Mapping[int, Relay]:
        """The captures that run, by channel."""
        return self._captures

    def wake_from_thread(self) -> None:
        """Look again now; called from whichever thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Poll and reconcile until cancelled; woken at once when a channel changes hands, or in itself."""
        self._loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            self._wait_seconds = self._poll_seconds
            try:
                await self._records.listen(self._woken.set)
                await self._reconcile()
                self._note_away(is_away=False)
            except Unavailable:
                self._note_away(is_away=True)  # what is known goes on being captured
                self._records.unlisten()
            except SQLAlchemyError:  # a bug of ours, and no reason to stop capturing
                log.exception("the channels cannot be read")
            await self._rest()

    async def _rest(self) -> None:
        """Wait until the next look is due: at a certain moment, if one is expected, else with a beat."""
        sleep = self._tools.clock.sleep if self._wait_seconds < self._poll_seconds else self._tools.beat.sleep
        await first(self._woken.wait(), sleep(self._wait_seconds))

    async def hand_over(self, seconds: float, *, peers_within: float = 0.0) -> None:
        """While `run` goes on: wait for others to take over everything, as long as there are any."""
        began = self._tools.clock.monotonic()
        while self._captures or self._handing_over:
            passed = self._tools.clock.monotonic() - began
            if passed >= seconds or (not self.has_peers and passed >= peers_within):
                return
            await self._tools.clock.sleep(HAND_OVER_TICK)

    async def stop(self) -> None:
        """End every capture; what does not end in time is abandoned to the next start's salvage."""
        self._records.unlisten()
        for capture in (*self._captures.values(), *self._standing_by.values()):
            capture.stop()
        tasks = [*self._tasks.values(), *self._stops]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._stop_seconds)
        for task in (*late, *self._handing_over.values()):
            task.cancel()
        if late:
            log.error("captures did not end in time", count=len(late))
            await asyncio.wait(late, timeout=0.5)

    def _note_away(self, *, is_away: bool) -> None:
        if is_away != self._is_away:
            self._is_away = is_away
            log.warning("the database is away" if is_away else "the database is back")

    # --- reconciling

    async def _reconcile(self) -> None:
        found, look, held = await asyncio.to_thread(self._read)
        if held is None:
            held = await self._taken_over(look)
        self.has_peers = held.has_peers
        if held.look_again_seconds is not None:
            self._wait_seconds = min(self._poll_seconds, held.look_again_seconds)
        ours = {
            channel_id: self._under(found[channel_id], epoch)
            for channel_id, epoch in held.epochs.items()
            if channel_id in found and channel_id not in self._handing_over
            if epoch > self._given_away.get(channel_id, 0)
        }
        self._known = {channel_id: self._known[channel_id] for channel_id in ours}
        running = {id_: capture.order for id_, capture in self._captures.items() if id_ not in self._handing_over}
        for action in reconcile(ours, running):
            match action:
                case Stop():
                    self._stop(action.channel_id, is_lost=action.channel_id in found)
                case Change():
                    self._captures[action.order.channel_id].change(action.order)
                case Start():
                    await self._start(action.order)
        offered = {id_: found[id_] for id_ in held.standing_by if id_ in found}
        self._stand_down(offered.keys() | ours.keys())
        await self._stand_by(offered, held)
        self._begin_hand_overs(held)
        await self._give_back(held, found)

    def _under(self, order: Order, epoch: int) -> Order:
        """The order with its epoch; the same object while both are the same, which need not be compared then."""
        known = self._known.get(order.channel_id)
        if known is None or known[0] is not order or known[1].epoch != epoch:
            known = self._known[order.channel_id] = order, replace(order, epoch=epoch)
        return known[1]

    def _read(self) -> tuple[Mapping[int, Order], Look, Held | None]:
        """The orders and what is ours; what is to be taken from others is left to `_taken_over`. Blocks."""
        found, pins = self._records.wanted()
        look = self._holdings.look(pins)
        return found, look, None if look.is_takeover else self._holdings.take(look)

    async def _taken_over(self, look: Look) -> Held:
        """Do our part of the plan a moment later, because others may be about to do the same."""
        await self._tools.clock.sleep(self._tools.uniform(0.0, RACE_SECONDS))
        return await asyncio.to_thread(self._holdings.take, look)

    async def _give_back(self, held: Held, found: Mapping[int, Order]) -> None:
        """Let go of channels that are not to be recorded any more, once their last rows are made."""
        for channel_id, epoch in held.epochs.items():
            is_over = channel_id not in found and channel_id not in self._tasks
            if is_over and not past.pending_of([self._tools.spool], channel_id):
                await asyncio.to_thread(self._holdings.release, channel_id, epoch)

    async def _start(self, order: Order) -> None:
        channel_id = order.channel_id
        waiting = self._standing_by.get(channel_id)
        if waiting is None and channel_id in self._tasks:
            return  # its last capture is still closing its file; the next round finds it gone
        known = await self._past(channel_id)
        if known is None:
            return  # disabled meanwhile; the next round knows
        until, reason, end = known.covered_until, known.reason, known.archived
        if waiting is None:
            capture = Relay(order, self._tools, covered_until=until, reason=reason, archived=end)
            self._run(capture, self._captures)
        elif self._standing_by.pop(channel_id, None) is waiting:
            self._captures[channel_id] = waiting
            await waiting.take_over(order, covered_until=until, reason=reason, archived=end)

    async def _past(self, channel_id: int) -> past.Past | None:
        """How far the channel's time is told, and with what its archive ends; None if it is not enabled."""
        pending = past.pending_of([self._tools.spool, *self._inherited()], channel_id)
        # After the spool: a fact that leaves it meanwhile is in the database, and not in neither.
        told, rows = await asyncio.to_thread(self._records.account, channel_id)
        if told is None:
            return None
        ends = [*(fact.end_time for fact in pending), *filter(None, [self._ended.get(channel_id)])]
        covered_until, reason = past.beginning(told, max(ends, default=None), self._tools.clock.now())
        return past.Past(covered_until, reason, tail.end([*rows, *pending]))

    def _run(self, capture: Relay, among: dict[int, Relay]) -> None:
        channel_id = capture.order.channel_id
        among[channel_id] = capture
        self._tasks[channel_id] = asyncio.create_task(self._keep(capture), name=f"capture-{channel_id}")

    async def _keep(self, capture: Relay) -> None:
        """Run a capture; a bug in one must not end the others, and is tried again at the next round."""
        channel_id = capture.order.channel_id
        try:
            await capture.run()
        except Exception:  # the edge of one capture
            log.exception("a capture failed", channel_id=channel_id)
            await self._tools.clock.sleep(self._poll_seconds)
        finally:
            if self._standing_by.get(channel_id) is capture:
                del self._standing_by[channel_id]
            elif capture in self._superseded:
                self._superseded.discard(capture)  # what it told last may give way to what the other tells
                self._ended.pop(channel_id, None)
            else:
                self._ended[channel_id] = capture.covered_until
            self._tasks.pop(channel_id, None)
            if self._captures.get(channel_id) is capture:
                del self._captures[channel_id]
            self._tools.on_change(channel_id)
            self._woken.set()

    def _stop(self, channel_id: int, *, is_lost: bool) -> None:
        """End the capture of a channel that is not ours any more, or not wanted: then its time is told."""
        capture = self._captures.pop(channel_id)
        if is_lost:
            log.warning("another recorder has this channel now", channel_id=channel_id, epoch=capture.order.epoch)
            self._superseded.add(capture)
            capture.stop()
            return
        task = asyncio.create_task(self._stop_at_period(capture))
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)

    async def _stop_at_period(self, capture: Relay) -> None:
        channel_id = capture.order.channel_id
        until = None
        try:
            until = await asyncio.to_thread(self._records.disabled_at, channel_id)
        except Unavailable:
            log.warning("the end of a period is not known", channel_id=channel_id)
        capture.stop(until or self._tools.clock.now())

    # --- handing over

    async def _stand_by(self, offered: Mapping[int, Order], held: Held) -> None:
        """Capture into memory what we have offered to take over, and say so once there is media."""
        for channel_id, order in offered.items():
            capture = self._standing_by.get(channel_id)
            if capture is None and channel_id not in self._tasks:
                now = self._tools.clock.now()
                capture = Relay(
                    order, self._tools, covered_until=now, reason=GapReason.RECORDER_DOWN, stands_by=True
                )
                self._run(capture, self._standing_by)
            elif capture is not None and capture.is_ready and channel_id not in held.ready:
                epoch = held.standing_by[channel_id]
                await asyncio.to_thread(self._holdings.make_ready, channel_id, epoch)
        if self._standing_by:
            self._wait_seconds = min(self._wait_seconds, STANDBY_TICK)

    def _stand_down(self, wanted: Set[int]) -> None:
        """End what waits for any other channel: that is held or not, but not wanted any more."""
        for channel_id in self._standing_by.keys() - wanted:
            self._standing_by[channel_id].stop()

    def _begin_hand_overs(self, held: Held) -> None:
        for channel_id, epoch in held.to_hand_over.items():
            capture = self._captures.get(channel_id)
            if capture is not None and channel_id not in self._handing_over:
                task = asyncio.create_task(self._hand_over(capture, epoch), name=f"hand-over-{channel_id}")
                self._handing_over[channel_id] = task

    async def _hand_over(self, capture: Relay, epoch: int) -> None:
        """Close the file, see its row made, and let the successor have the channel; it has the media since."""
        channel_id = capture.order.channel_id
        try:
            capture.stop()
            await asyncio.wait([self._tasks[channel_id]])
            ends_at = self._tools.clock.monotonic() + ROWS_SECONDS
            while past.pending_of([self._tools.spool], channel_id) and self._tools.clock.monotonic() < ends_at:
                await self._tools.clock.sleep(HAND_OVER_TICK)
            is_given = await asyncio.to_thread(self._holdings.release, channel_id, epoch)
            self._given_away[channel_id] = epoch
            log.info("channel handed over", channel_id=channel_id, epoch=epoch, released=is_given)
        except Unavailable:
            log.warning("a channel could not be handed over", channel_id=channel_id)
        finally:
            del self._handing_over[channel_id]
            self._woken.set()
