"""Holds: stretches of a channel that neither a client nor its retention may delete."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec.channel_fields import text
from streamrec.errors import Conflict, Invalid, NotFound
from streamrec.models import Channel, Hold, Recording

MOST: Final = 1000  # of one channel


def lock(session: Session, channel_id: int) -> None:
    """Hold and deletion of one channel come one after the other; captures do not wait for either.

    Raises:
        NotFound: there never was such a channel.
    """
    statement = sa.select(Channel.id).where(Channel.id == channel_id).with_for_update(key_share=True)
    if session.scalar(statement) is None:
        raise NotFound(f"There is no channel {channel_id}.", channel_id=channel_id)


def create(
    session: Session, channel_id: int, *, start: datetime, end: datetime, reason: str, by: str | None
) -> Hold:
    """Hold `[start, end)` of a channel, deleted or not.

    Raises:
        NotFound, Invalid.
        Conflict: there are as many as there may be.
    """
    if end <= start:
        raise Invalid("The end_time must be after the start_time.", field="end_time", rule="order")
    lock(session, channel_id)
    if len(listed(session, channel_id)) >= MOST:
        raise Conflict(f"A channel may have {MOST} holds.", rule="most")
    made = Hold(
        channel_id=channel_id,
        start_time=start,
        end_time=end,
        reason=text("reason", reason, 1000),
        created_by=by,
    )
    session.add(made)
    session.flush()
    return made


def listed(session: Session, channel_id: int) -> Sequence[Hold]:
    """All holds of a channel, by start time. Raises NotFound."""
    if session.scalar(sa.select(Channel.id).where(Channel.id == channel_id)) is None:
        raise NotFound(f"There is no channel {channel_id}.", channel_id=channel_id)
    found = sa.select(Hold).where(Hold.channel_id == channel_id)
    return session.scalars(found.order_by(Hold.start_time, Hold.id)).all()


def lift(session: Session, channel_id: int, hold_id: int) -> None:
    """End a hold. Raises NotFound."""
    gone = sa.delete(Hold).where(Hold.id == hold_id, Hold.channel_id == channel_id)
    if session.scalar(gone.returning(Hold.id)) is None:
        raise NotFound(f"The channel {channel_id} has no hold {hold_id}.", hold_id=hold_id)


def covers() -> sa.ColumnElement[bool]:
    """Whether a hold overlaps a recording."""
    return sa.exists().where(
        Hold.channel_id == Recording.channel_id,
        Hold.start_time < Recording.end_time,
        Hold.end_time > Recording.start_time,
    )


def refuse(session: Session, condition: sa.ColumnElement[bool], **context: Any) -> None:
    """Raise Conflict if a hold covers one of the recordings for which `condition` is true."""
    held = session.scalar(sa.select(Recording.id).where(condition, covers()).limit(1))
    if held is not None:
        raise Conflict(
            f"A hold covers the recording {held}; it must be lifted first.", rule="held", recording_id=held
        )
