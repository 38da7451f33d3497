"""What ought to be captured against what is: a pure comparison, and the loop that acts on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from streamrec import db
from streamrec.egress import Credentials
from streamrec.errors import DatabaseAway
from streamrec.models import Channel, ChannelCredential, Coverage, EnabledPeriod, GapReason
from streamrec.recorder import tail
from streamrec.recorder.capture import Capture, Order, Tools
from streamrec.recorder.events import Address
from streamrec.recorder.facts import GapNoted, SegmentClosed
from streamrec.recorder.spool import Spool

log = structlog.get_logger(__name__)
Result = TypeVar("Result")

FRESH: Final = timedelta(seconds=15)  # enabled longer ago than this, the recorder was away


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
    """What must be done so that `wanted` runs. Pure."""
    both = sorted(wanted.keys() & running.keys())
    return [
        *(Stop(channel_id) for channel_id in sorted(running.keys() - wanted.keys())),
        *(Change(wanted[channel_id]) for channel_id in both if wanted[channel_id] != running[channel_id]),
        *(Start(wanted[channel_id]) for channel_id in sorted(wanted.keys() - running.keys())),
    ]


# --- reading ----------------------------------------------------------------------------------------------


def orders(session: Session) -> dict[int, Order]:
    """Every channel that is to be recorded."""
    rows = session.execute(
        sa.select(
            *(Channel.id, Channel.keyname, Channel.url, Channel.capture, Channel.segment_seconds),
            *(ChannelCredential.username, ChannelCredential.password),
        )
        .outerjoin(ChannelCredential, ChannelCredential.channel_id == Channel.id)
        .where(Channel.enabled, Channel.deleted_at.is_(None))
    )
    found: dict[int, Order] = {}
    for channel_id, keyname, url, mode, segment_seconds, username, password in rows:
        credentials = Credentials(username, password) if username is not None else None
        found[channel_id] = Order(channel_id, keyname, Address(url, credentials, mode), segment_seconds)
    return found


@dataclass(frozen=True, slots=True)
class Told:
    """Where a channel's account ends, and whether anything was ever told of this enabled period."""

    enabled_at: datetime
    covered_until: datetime | None


def told(session: Session, channel_id: int) -> Told | None:
    """How far the database's account of an enabled channel goes; None if no period is open."""
    period = sa.select(EnabledPeriod.start_time).where(
        EnabledPeriod.channel_id == channel_id, EnabledPeriod.end_time.is_(None)
    )
    enabled_at = session.scalar(period)
    if enabled_at is None:
        return None
    latest = sa.select(sa.func.max(Coverage.end_time)).where(Coverage.channel_id == channel_id)
    return Told(enabled_at, session.scalar(latest))


def disabled_at(session: Session, channel_id: int) -> datetime | None:
    """When the latest enabled period ended; None if it has not."""
    latest = (
        sa.select(EnabledPeriod.end_time)
        .where(EnabledPeriod.channel_id == channel_id)
        .order_by(EnabledPeriod.start_time.desc())
        .limit(1)
    )
    return session.scalar(latest)


def beginning(told: Told, pending: datetime | None, now: datetime) -> tuple[datetime, GapReason]:
    """From where a capture accounts for time, and why nothing was recorded since then. Pure.

    `pending` is the end of what this channel's facts in the spool say; they may not be rows yet.
    """
    known = max((end for end in (told.covered_until, pending) if end is not None), default=told.enabled_at)
    if known > told.enabled_at:
        return known, GapReason.RECORDER_DOWN
    is_fresh = now - told.enabled_at < FRESH
    return told.enabled_at, GapReason.STARTING if is_fresh else GapReason.RECORDER_DOWN


def pending_of(spool: Spool, channel_id: int) -> list[SegmentClosed | GapNoted]:
    """What the spool still owes the database about a channel's time."""
    pending = (fact for fact in spool.pending() if isinstance(fact, SegmentClosed | GapNoted))
    return [fact for fact in pending if fact.channel_id == channel_id]


# --- acting -----------------------------------------------------------------------------------------------


class Supervisor:
    """Keeps the wanted channels captured. All methods run on the event loop; the database is asked in threads."""

    def __init__(self, tools: Tools, engine: Engine, *, poll_seconds: float, stop_seconds: float) -> None:
        self._tools = tools
        self._engine = engine
        self._poll_seconds = poll_seconds
        self._stop_seconds = stop_seconds
        self._captures: dict[int, Capture] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ended: dict[int, datetime] = {}
        self._stops: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._listener: db.Listener | None = None
        self._listening_on = -1  # kept, because a lost connection does not know its descriptor any more
        self._is_away = False

    @property
    def captures(self) -> Mapping[int, Capture]:
        """The captures that run, by channel."""
        return self._captures

    async def run(self) -> None:
        """Poll and reconcile until cancelled; woken at once when a channel changes."""
        while True:
            self._woken.clear()
            try:
                await self._listen()
                await self._reconcile()
                self._note_away(is_away=False)
            except DatabaseAway:
                self._note_away(is_away=True)  # what is known goes on being captured
                self._unlisten()
            except SQLAlchemyError:  # a bug of ours, and no reason to stop capturing
                log.exception("the channels cannot be read")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._poll_seconds)

    async def stop(self) -> None:
        """End every capture; what does not end in time is abandoned to the next start's salvage."""
        self._unlisten()
        for capture in self._captures.values():
            capture.stop()
        tasks = [*self._tasks.values(), *self._stops]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._stop_seconds)
        for task in late:
            task.cancel()
        if late:
            log.error("captures did not end in time", count=len(late))
            await asyncio.wait(late, timeout=0.5)

    def _note_away(self, *, is_away: bool) -> None:
        if is_away != self._is_away:
            self._is_away = is_away
            log.warning("the database is away" if is_away else "the database is back")

    # --- listening

    async def _listen(self) -> None:
        if self._listener is not None:
            return
        listener = await asyncio.to_thread(db.Listener, self._engine, "channel")
        self._listener = listener
        self._listening_on = listener.fileno()
        asyncio.get_running_loop().add_reader(self._listening_on, self._drain, listener)

    def _drain(self, listener: db.Listener) -> None:
        try:
            listener.drain()
        except DatabaseAway:
            self._unlisten()
        self._woken.set()

    def _unlisten(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(self._listening_on)
            listener.close()

    # --- reconciling

    async def _reconcile(self) -> None:
        wanted = await asyncio.to_thread(_in_session, orders)
        running = {channel_id: capture.order for channel_id, capture in self._captures.items()}
        for action in reconcile(wanted, running):
            match action:
                case Stop():
                    self._stop(action.channel_id)
                case Change():
                    self._captures[action.order.channel_id].change(action.order)
                case Start():
                    await self._start(action.order)

    async def _start(self, order: Order) -> None:
        channel_id = order.channel_id
        if channel_id in self._tasks:
            return  # its last capture is still closing its file; the next round finds it gone
        pending = pending_of(self._tools.spool, channel_id)
        # After the spool: a fact that leaves it meanwhile is in the database, and not in neither.
        account, rows = await asyncio.to_thread(
            _in_session, lambda session: (told(session, channel_id), tail.rows(session, channel_id))
        )
        if account is None:
            return  # disabled meanwhile; the next round knows
        ends = [*(fact.end_time for fact in pending), *filter(None, [self._ended.get(channel_id)])]
        covered_until, reason = beginning(account, max(ends, default=None), self._tools.clock.now())
        archived = tail.end([*rows, *pending])
        capture = Capture(order, self._tools, covered_until=covered_until, reason=reason, archived=archived)
        self._captures[channel_id] = capture
        self._tasks[channel_id] = asyncio.create_task(self._keep(capture), name=f"capture-{channel_id}")

    async def _keep(self, capture: Capture) -> None:
        """Run a capture; a bug in one must not end the others, and is tried again at the next round."""
        channel_id = capture.order.channel_id
        try:
            await capture.run()
        except Exception:  # the edge of one capture
            log.exception("a capture failed", channel_id=channel_id)
            await asyncio.sleep(self._poll_seconds)
        finally:
            self._ended[channel_id] = capture.covered_until
            self._tasks.pop(channel_id, None)
            if self._captures.get(channel_id) is capture:
                del self._captures[channel_id]
            self._tools.on_change(channel_id)
            self._woken.set()

    def _stop(self, channel_id: int) -> None:
        """End the capture of a channel that is no longer wanted, and tell its time up to when it was not."""
        capture = self._captures.pop(channel_id)
        task = asyncio.create_task(self._stop_at_period(capture))
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)

    async def _stop_at_period(self, capture: Capture) -> None:
        channel_id = capture.order.channel_id
        until = None
        try:
            until = await asyncio.to_thread(_in_session, lambda session: disabled_at(session, channel_id))
        except DatabaseAway:
            log.warning("the end of a period is not known", channel_id=channel_id)
        capture.stop(until or self._tools.clock.now())


def _in_session(read: Callable[[Session], Result]) -> Result:
    with db.away_as_unavailable(), db.Session.begin() as session:
        return read(session)
