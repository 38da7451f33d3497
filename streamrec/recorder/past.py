"""How far a channel's time is told, by rows and facts that are not rows yet: what a capture goes on from. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from streamrec.models import GapReason
from streamrec.recorder.facts import GapNoted, SegmentClosed
from streamrec.recorder.spool import Spool
from streamrec.recorder.tail import End

FRESH: Final = timedelta(seconds=15)  # enabled longer ago than this, the recorder was away


@dataclass(frozen=True, slots=True)
class Told:
    """Where a channel's account ends, and whether anything was ever told of this enabled period."""

    enabled_at: datetime
    covered_until: datetime | None


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
