"""What the recorders say of their work, believed only while they live."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec.errors import NotFound
from streamrec.keyset import Row, Select
from streamrec.models import Assignment, Capture, CaptureState, Channel, Recorder

RECORDER_TTL: Final = timedelta(seconds=6)  # three missed heartbeats


def is_alive(ttl: timedelta = RECORDER_TTL) -> sa.ColumnElement[bool]:
    """Whether a recorder's row says that it lives, by the database's clock."""
    return sa.and_(Recorder.stopped_at.is_(None), Recorder.heartbeat_at > sa.func.now() - ttl)


# The state of a joined capture; nobody captures under a recorder that is gone.
STATE: Final = sa.case((is_alive(), sa.cast(Capture.state, sa.Text)), else_=CaptureState.STOPPED.value)

_ALIVE = sa.func.coalesce(is_alive(), sa.false()).label("is_alive")
_STATUS: Select = (
    sa.select(
        Channel.id.label("channel_id"),
        Channel.name,
        Channel.keyname,
        Channel.type,
        Channel.enabled,
        STATE.label("state"),
        _ALIVE,
        *(
            getattr(Capture, name)
            for name in (
                *("recorder_id", "since", "run_id", "path", "file_start_time", "file_bytes", "file_seconds"),
                *("bit_rate", "codecs", "title", "last_error", "source_index", "restarts", "updated_at"),
            )
        ),
    )
    .outerjoin(Capture, Capture.channel_id == Channel.id)
    .outerjoin(Recorder, Recorder.id == Capture.recorder_id)
    .where(Channel.deleted_at.is_(None))
)


def status(session: Session, channel_id: int) -> Row:
    """What is being done about a channel.

    Raises:
        NotFound: there is none, or it was deleted.
    """
    row = session.execute(_STATUS.where(Channel.id == channel_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no channel {channel_id}.", channel_id=channel_id)
    return row


def statuses(session: Session, limit: int) -> list[Row]:
    """What is being done about every channel, by name."""
    return list(session.execute(_STATUS.order_by(Channel.name, Channel.id).limit(limit)))


def is_at_work(session: Session, channel_id: int) -> bool:
    """Whether a living recorder still has its hands on a channel, deleted or not."""
    statement = sa.select(STATE).select_from(Capture).outerjoin(Recorder, Recorder.id == Capture.recorder_id)
    state = session.scalar(statement.where(Capture.channel_id == channel_id))
    return state not in {None, CaptureState.STOPPED.value}


def is_any_recorder_alive(session: Session) -> bool:
    """Whether somebody is there to record at all."""
    return bool(session.scalar(sa.select(sa.exists().where(is_alive()))))


def recorders(session: Session, limit: int) -> list[Row]:
    """The recorders that live or lived, the latest first."""
    age = sa.func.extract("epoch", sa.func.now() - Recorder.heartbeat_at).label("heartbeat_age")
    columns = (Recorder.id, Recorder.host, Recorder.pid, Recorder.version, Recorder.ffmpeg, Recorder.start_time)
    held = sa.select(sa.func.count()).where(Assignment.recorder_id == Recorder.id).scalar_subquery()
    about = (Recorder.is_leaving, Recorder.capacity, Recorder.labels, held.label("channels"))
    statement = sa.select(*columns, *about, Recorder.stopped_at, is_alive().label("is_alive"), age)
    return list(session.execute(statement.order_by(Recorder.heartbeat_at.desc()).limit(limit)))
