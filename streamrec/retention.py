"""How long recordings are kept: by days, by bytes, and by the room that is left; never what a hold covers.

Each batch is one transaction that locks the channel and looks for holds; the files follow it, as in any deletion.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session as OrmSession

from streamrec import deletion, holds, recordings
from streamrec.archive import room
from streamrec.archive.room import Room
from streamrec.db import Session
from streamrec.models import Channel, Origin, Recording, Store
from streamrec.settings import Settings

log = structlog.get_logger("streamrec.retention")

BATCH: Final = 500
EARLY_BATCH: Final = 50
STEP_PERCENT: Final = 1.0  # of the disk; less is nothing new


def run(settings: Settings) -> int:
    """Delete what has been kept long enough, of every channel; how many recordings."""
    with Session.begin() as session:
        channels = session.scalars(sa.select(Channel.id).order_by(Channel.id)).all()
    return sum(_channel(settings, channel_id) for channel_id in channels)


def _channel(settings: Settings, channel_id: int) -> int:
    count = 0
    while True:
        with Session.begin() as session:
            ids = due(session, settings, channel_id)
            keys = recordings.expire(session, ids) if ids else []
        deletion.sweep(keys, settings.archive_dir)
        count += len(ids)
        if len(ids) < BATCH:
            break
    if count:
        log.info("recordings expired", channel_id=channel_id, recordings=count)
    return count


def due(session: OrmSession, settings: Settings, channel_id: int) -> Sequence[int]:
    """The oldest of a channel's recordings that are not to be kept any more; the channel is locked."""
    holds.lock(session, channel_id)
    days, cap = session.execute(
        sa.select(Channel.retention_days, Channel.retention_bytes).where(Channel.id == channel_id)
    ).one()
    ends_before = sa.func.now() - timedelta(days=days or settings.retention_days)
    is_over: sa.ColumnElement[bool] = Recording.end_time < ends_before
    cap = cap or settings.retention_bytes
    if cap is not None:
        is_over = sa.or_(is_over, Recording.id.in_(_beyond(channel_id, cap)))
    return session.scalars(_expirable().where(Recording.channel_id == channel_id, is_over).limit(BATCH)).all()


def _expirable() -> sa.Select[int]:
    """Captured recordings that no hold covers, the oldest first."""
    statement = sa.select(Recording.id).where(Recording.origin == Origin.CAPTURED, ~holds.covers())
    return statement.order_by(Recording.start_time, Recording.id)


def _beyond(channel_id: int, cap: int) -> sa.Select[int]:
    """Recordings of a channel for which there is no room, counted from the newest."""
    newest_first = sa.func.sum(Recording.size_bytes).over(
        order_by=(Recording.start_time.desc(), Recording.id.desc())
    )
    kept = sa.select(Recording.id, newest_first.label("total")).where(
        Recording.channel_id == channel_id, Recording.origin == Origin.CAPTURED
    )
    counted = kept.subquery()
    return sa.select(counted.c.id).where(counted.c.total > cap)


# --- room -------------------------------------------------------------------------------------------------


class RoomKeeper:
    """Keeps room on the archive's disk. It may be asked twice a minute for years, and says only what is new."""

    def __init__(self, settings: Settings, measured: Callable[[Path], Room] = room.of) -> None:
        self._settings = settings
        self._measured = measured
        self._told: float | None = None  # the percentage that was last told; None while there was enough
        self._is_stuck = False

    def make_room(self) -> int:
        """When the disk fills, delete what is due; then the oldest before their time, if the settings say so.

        How many recordings went. What lies in a bucket takes no room here and stays. Raises OSError.
        """
        count = run(self._settings) if self._free_percent() < self._settings.disk_warn_percent else 0
        self._tell(self._free_percent())
        return count + self._let_go()

    def _free_percent(self) -> float:
        return self._measured(self._settings.archive_dir).free_percent

    def _tell(self, free: float) -> None:
        warns_at = self._settings.disk_warn_percent
        if self._told is not None and free >= warns_at + STEP_PERCENT:
            self._told = None
            log.info("the archive's disk has room again", action="disk_low", free_percent=round(free, 1))
        elif free < warns_at and (self._told is None or free <= self._told - STEP_PERCENT):
            self._told = free
            level = logging.ERROR if free < self._settings.disk_low_percent else logging.WARNING
            log.log(level, "the archive's disk fills", action="disk_low", free_percent=round(free, 1))

    def _let_go(self) -> int:
        count = 0
        while self._must_let_go() and (ids := _oldest(self._settings)):
            count += len(ids)
        if count:
            log.warning("recordings were deleted early for want of room", recordings=count)
        is_stuck = self._must_let_go()
        if is_stuck and not self._is_stuck:
            log.error("the archive's disk is full, and nothing may be deleted", action="disk_low")
        self._is_stuck = is_stuck
        return count

    def _must_let_go(self) -> bool:
        return self._settings.disk_low == "expire" and self._free_percent() < self._settings.disk_low_percent


def _oldest(settings: Settings) -> Sequence[int]:
    """Let a few of the oldest of one channel go; which."""
    with Session.begin() as session:
        here = _expirable().where(Recording.store == Store.LOCAL).with_only_columns(Recording.channel_id).limit(1)
        channel_id = session.scalar(here)
        if channel_id is None:
            return ()
        holds.lock(session, channel_id)
        of_channel = _expirable().where(Recording.store == Store.LOCAL, Recording.channel_id == channel_id)
        ids = session.scalars(of_channel.limit(EARLY_BATCH)).all()
        keys = recordings.expire(session, ids, detail="It was deleted early for want of room.")
    deletion.sweep(keys, settings.archive_dir)
    return ids
