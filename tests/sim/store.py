"""The database of a simulated fleet, in memory: channels, leases, and rows under the fence and the exclusion."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from streamrec.clock import Clock
from streamrec.errors import DatabaseAway
from streamrec.recorder.book import Refused
from streamrec.recorder.facts import Fact, GapNoted, RunEnded, RunStarted, SegmentClosed
from streamrec.recorder.past import Told
from streamrec.recorder.placement.interface import Member, View
from streamrec.recorder.placement.memory import MemoryPlacement
from streamrec.recorder.records.interface import Account, Wanted
from streamrec.recorder.tail import FILES, GAPS, ClosedFile, of
from streamrec.recorder.tools import Order
from tests.sim.virtual import Machine, VirtualLoop


@dataclass(frozen=True)
class Costs:
    """Seconds that questions to the database take, thread and all; what a run is calibrated with."""

    wanted: float = 0.003
    view: float = 0.004
    account: float = 0.004
    account_work: float = 0.002  # of that, what a machine that all share has to do itself
    change: float = 0.004  # a claim, an offer, a heartbeat, a batch of facts
    refusal: float = 0.002  # of a database that is away
    notice: float = 0.003  # from a change to whoever listens
    spread: float = 0.3  # a share of each, by which it varies to both sides


@dataclass(frozen=True)
class Row:
    """A stretch of a channel's time that is told."""

    fact: SegmentClosed | GapNoted
    start: datetime
    end: datetime
    epoch: int | None

    @property
    def is_media(self) -> bool:
        return isinstance(self.fact, SegmentClosed)


@dataclass
class Run:
    """A run's row."""

    fact: RunStarted
    end: datetime | None = None


class Store:
    """What is committed. Everything that a recorder asks goes through its `Line`, which may be cut."""

    def __init__(
        self, loop: VirtualLoop, clock: Clock, dice: random.Random, costs: Costs, machine: Machine | None = None
    ) -> None:
        """A `machine` is shared by those who ask for accounts, of which a takeover asks many."""
        self.loop, self.clock, self.dice, self.costs, self.machine = loop, clock, dice, costs, machine
        self.is_away = False
        self.placement = MemoryPlacement(clock.monotonic)
        self.wanted = Wanted({}, {})
        self.enabled_at: dict[int, datetime] = {}
        self.disabled_at: dict[int, datetime] = {}
        self.rows: dict[int, list[Row]] = defaultdict(list)
        self.runs: dict[UUID, Run] = {}
        self.row_changes: list[float] = []  # when a row was made or changed
        self.heartbeats = 0
        self.refused_late = 0
        self._listeners: dict[object, tuple[Callable[[], None], Context]] = {}

    def ask(self, seconds: float) -> None:
        """A question is asked. Raises DatabaseAway."""
        costs = self.costs
        seconds = costs.refusal if self.is_away else seconds
        self.loop.spend(seconds * self.dice.uniform(1 - costs.spread, 1 + costs.spread))
        if self.is_away:
            raise DatabaseAway("The database does not answer.")

    # --- channels, and who hears of them

    def enable(self, orders: Mapping[int, Order]) -> None:
        """These channels are to be recorded too, from now on."""
        self.enabled_at |= dict.fromkeys(orders, self.clock.now())
        self.wanted = Wanted({**self.wanted.orders, **orders}, {**self.wanted.pins, **{key: {} for key in orders}})
        self.notify()

    def disable(self) -> None:
        """No channel is to be recorded any more."""
        self.disabled_at = dict.fromkeys(self.wanted.orders, self.clock.now())
        self.wanted = Wanted({}, {})
        self.notify()

    def listen(self, who: object, woken: Callable[[], None]) -> None:
        self._listeners[who] = woken, copy_context()

    def unlisten(self, who: object) -> None:
        self._listeners.pop(who, None)

    def notify(self) -> None:
        """Tell everybody who listens, a moment later."""
        for woken, context in list(self._listeners.values()):
            self.loop.call_later(self.costs.notice, woken, context=context)

    def lose(self) -> None:
        """Be away from now on; whoever listens finds the connection closed."""
        self.is_away = True
        for woken, context in list(self._listeners.values()):
            self.loop.call_soon(woken, context=context)
        self._listeners.clear()

    def come_back(self) -> None:
        self.is_away = False

    # --- rows

    def enter(self, facts: Sequence[Fact]) -> None:
        """All of them or none. Raises Refused, as the trigger and the exclusion constraint do."""
        rows = {
            channel: list(self.rows[channel]) for channel in {fact.channel_id for fact in facts if _told(fact)}
        }
        for fact in facts:
            match fact:
                case RunStarted():
                    self.runs.setdefault(fact.run_id, Run(fact))
                case RunEnded():
                    self.runs[fact.run_id].end = fact.end_time
                case SegmentClosed() | GapNoted():
                    self._check_epoch(fact)
                    _tell(rows[fact.channel_id], fact)
        self.rows.update(rows)
        self.row_changes += [self.loop.time()] * len(facts)

    def _check_epoch(self, fact: SegmentClosed | GapNoted) -> None:
        if fact.epoch is not None and fact.epoch < self.epoch(fact.channel_id):
            raise Refused("the epoch is fenced", is_late=True)

    def epoch(self, channel_id: int) -> int:
        """Under which rows of a channel are taken now."""
        found = self.placement.view().assignments.get(channel_id)
        return 0 if found is None else found.epoch

    def account(self, channel_id: int) -> Account:
        enabled_at = self.enabled_at.get(channel_id)
        if enabled_at is None or channel_id in self.disabled_at:
            return Account(None, [])
        rows = self.rows[channel_id]
        files: list[ClosedFile | GapNoted] = [of(row.fact) for row in rows if isinstance(row.fact, SegmentClosed)]
        gaps = [_gap(row) for row in rows if isinstance(row.fact, GapNoted)]
        told = Told(enabled_at, rows[-1].end if rows else None)
        return Account(told, [*files[-FILES:], *gaps[-GAPS:]])


def _told(fact: Fact) -> bool:
    return isinstance(fact, SegmentClosed | GapNoted)


def _gap(row: Row) -> GapNoted:
    assert isinstance(row.fact, GapNoted)
    return replace(row.fact, start_time=row.start, end_time=row.end)


def _tell(rows: list[Row], fact: SegmentClosed | GapNoted) -> None:
    """Insert a row, or give a gap its new bounds. Raises Refused if another row is in the way."""
    same = next((row for row in rows if row.fact.uuid == fact.uuid), None)
    if same is not None:
        if same.is_media:
            return  # replayed
        rows.remove(same)
    if fact.end_time > fact.start_time:
        insert(rows, Row(fact, fact.start_time, fact.end_time, fact.epoch))


def insert(rows: list[Row], new: Row) -> None:
    """Keep them in order. Raises Refused if they would overlap."""
    at = len(rows)
    while at and rows[at - 1].start >= new.end:
        at -= 1
    if at and rows[at - 1].end > new.start:
        raise Refused("time that is told already", is_late=True)
    rows.insert(at, new)


class Line:
    """One recorder's way to the store: a Placement, Records and a Book that raise DatabaseAway when it is away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.claimed: list[tuple[float, list[int]]] = []
        self.released: list[tuple[float, int]] = []
        self.renewed_at = 0.0

    # --- Records

    def wanted(self) -> Wanted:
        self._store.ask(self._store.costs.wanted)
        return self._store.wanted

    def account(self, channel_id: int) -> Account:
        store = self._store
        costs, machine = store.costs, store.machine
        queued = machine.turn(costs.account_work) - costs.account_work if machine is not None else 0.0
        store.ask(costs.account + queued)
        return self._store.account(channel_id)

    def disabled_at(self, channel_id: int) -> datetime | None:
        self._store.ask(self._store.costs.account)
        return self._store.disabled_at.get(channel_id)

    async def listen(self, woken: Callable[[], None]) -> None:
        if self._store.is_away:
            raise DatabaseAway("The database does not answer.")
        self._store.listen(self, woken)

    def unlisten(self) -> None:
        self._store.unlisten(self)

    # --- Book

    def enter(self, facts: Sequence[Fact]) -> None:
        self._store.ask(self._store.costs.change)
        self._store.enter(facts)

    def has_turned(self) -> bool:
        return False  # there is one store, and it forgets nothing

    # --- Placement

    def join(self, member: Member) -> None:
        self._changed(self._store.placement.join, member)

    def renew(self, member_id: UUID) -> bool:
        self._store.ask(self._store.costs.change)
        self._store.heartbeats += 1
        self.renewed_at = self._store.loop.time()
        return self._store.placement.renew(member_id)

    def drain(self, member_id: UUID) -> None:
        self._changed(self._store.placement.drain, member_id)

    def leave(self, member_id: UUID) -> None:
        self._changed(self._store.placement.leave, member_id)

    bury = leave

    def view(self) -> View:
        self._store.ask(self._store.costs.view)
        return self._store.placement.view()

    def claim(self, member_id: UUID, seen: Mapping[int, int]) -> dict[int, int]:
        got: dict[int, int] = self._changed(self._store.placement.claim, member_id, seen)
        if got:
            self.claimed.append((self._store.loop.time(), sorted(got)))
        return got

    def offer(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        return bool(self._changed(self._store.placement.offer, member_id, channel_id, epoch))

    def make_ready(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        return bool(self._changed(self._store.placement.make_ready, member_id, channel_id, epoch))

    def withdraw(self, member_id: UUID, channel_id: int) -> None:
        self._changed(self._store.placement.withdraw, member_id, channel_id)

    def release(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        is_released = bool(self._changed(self._store.placement.release, member_id, channel_id, epoch))
        if is_released:
            self.released.append((self._store.loop.time(), channel_id))
        return is_released

    def _changed(self, change: Callable[..., Any], *given: object) -> Any:
        """One step, of which everybody hears who listens."""
        self._store.ask(self._store.costs.change)
        result = change(*given)
        self._store.notify()
        return result


class Settling:
    """What the recorder's Settlement does with late facts, on rows in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.quarantined_seconds = 0.0

    def settle(self, fact: SegmentClosed | GapNoted) -> bool:
        store = self._store
        store.ask(store.costs.change)
        epoch = max(store.epoch(fact.channel_id), fact.epoch or 0)
        if isinstance(fact, GapNoted):
            self._tell_where_untold(fact, epoch)
            return True
        if self._is_open(fact, epoch):
            return False
        until = self._media_after(fact)
        if until is not None:
            self.quarantined_seconds += (fact.end_time - max(until, fact.start_time)).total_seconds()
        end = fact.end_time if until is None else until
        if end > fact.start_time:
            self._make_room(replace(fact, end_time=end, epoch=epoch))
        return True

    def _is_open(self, fact: SegmentClosed, epoch: int) -> bool:
        """Whether a living holder has told nothing of that time yet."""
        if epoch == fact.epoch:
            return False
        view = self._store.placement.view()
        if view.assignments[fact.channel_id].holder not in view.members:
            return False
        newer = any(
            run.fact.channel_id == fact.channel_id and (run.fact.epoch or 0) > (fact.epoch or 0)
            for run in self._store.runs.values()
        )
        rows = self._store.rows[fact.channel_id]
        return not newer and not any((r.epoch or 0) > (fact.epoch or 0) and r.end >= fact.end_time for r in rows)

    def _media_after(self, fact: SegmentClosed) -> datetime | None:
        """Where the media of others begins within the fact's time: of rows, and of runs that go on."""
        rows = self._store.rows[fact.channel_id]
        starts = [r.start for r in rows if r.is_media and r.start < fact.end_time and r.end > fact.start_time]
        living = self._store.placement.view().members
        for run in self._store.runs.values():
            told = run.fact
            if told.channel_id == fact.channel_id and (told.epoch or 0) > (fact.epoch or 0):
                goes_on = run.end is None and told.recorder_id in living
                first = [
                    r.start for r in rows if isinstance(r.fact, SegmentClosed) and r.fact.run_id == told.run_id
                ]
                if goes_on or (run.end is not None and run.end > fact.start_time):
                    starts.append(min(first, default=told.start_time))
        return min((start for start in starts if start < fact.end_time), default=None)

    def _make_room(self, fact: SegmentClosed) -> None:
        """Take the fact's time out of the gaps that others told, and give it a row."""
        rows = [each for row in self._store.rows[fact.channel_id] for each in _without(row, fact)]
        _tell(rows, fact)
        self._store.rows[fact.channel_id] = rows

    def _tell_where_untold(self, fact: GapNoted, epoch: int) -> None:
        rows = [row for row in self._store.rows[fact.channel_id] if row.fact.uuid != fact.uuid]
        for start, end in list(_untold(rows, fact)):
            insert(rows, Row(fact, start, end, epoch))
        self._store.rows[fact.channel_id] = rows


def _without(row: Row, fact: SegmentClosed) -> Iterator[Row]:
    """What is left of a gap; other rows stay."""
    if row.is_media or row.end <= fact.start_time or row.start >= fact.end_time:
        yield row
        return
    if row.start < fact.start_time:
        yield replace(row, end=fact.start_time)
    if row.end > fact.end_time:
        yield replace(row, start=fact.end_time)


def _untold(rows: Sequence[Row], fact: GapNoted) -> Iterator[tuple[datetime, datetime]]:
    at = fact.start_time
    for row in rows:
        if row.start < fact.end_time and row.end > at:
            if row.start > at:
                yield at, row.start
            at = max(at, row.end)
    if at < fact.end_time:
        yield at, fact.end_time
