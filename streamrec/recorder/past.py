"""How far a channel's time is told, by rows and by facts that are not rows yet: what a capture goes on from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec.models import Coverage, EnabledPeriod, GapReason
from streamrec.recorder.facts import GapNoted, SegmentClosed
from streamrec.recorder.spool import Spool
from streamrec.recorder.tail import End

FRESH: Final = timedelta(seconds=15)  # enabled longer ago than this, the recorder was away


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


def pending_of(spools: Iterable[Spool], channel_id: int) -> list[SegmentClosed | GapNoted]:
    """What the spools still owe the database about a channel's time."""
    pending = (fact for spool in spools for fact in spool.pending() if isinstance(fact, SegmentClosed | GapNoted))
    return [fact for fact in pending if fact.channel_id == channel_id]


@dataclass(frozen=True, slots=True)
class Past:
    """What a capture goes on from."""

    covered_until: datetime
    reason: GapReason
    archived: End
