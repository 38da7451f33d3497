"""A recorder's own rows: who it is, that it lives, and what its captures do. Times are the database's."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import __version__, captures
from streamrec.clock import now
from streamrec.media import process
from streamrec.models import Capture, CaptureState, Recorder
from streamrec.recorder.status import Status, Totals


def claim(session: Session, recorder_id: UUID, *, ffmpeg: str, ttl: timedelta) -> Recorder | None:
    """Become the recorder of this database, unless another one lives; that one, or None if we are it.

    A recorder of this machine whose process is gone need not be waited for.
    """
    session.execute(sa.text("LOCK TABLE recorder IN SHARE ROW EXCLUSIVE MODE"))  # two that start together
    for other in session.scalars(sa.select(Recorder).where(captures.is_alive(ttl), Recorder.id != recorder_id)):
        if other.host != socket.gethostname() or process.started(other.pid) is not None:
            return other
        other.stopped_at = other.heartbeat_at
    session.add(
        Recorder(id=recorder_id, host=socket.gethostname(), pid=os.getpid(), version=__version__, ffmpeg=ffmpeg)
    )
    session.flush()
    session.execute(sa.update(Capture).values(state=CaptureState.STOPPED, recorder_id=recorder_id))
    return None


def beat(session: Session, recorder_id: UUID, totals: Totals) -> None:
    """Say that the recorder lives, and its totals."""
    session.execute(
        sa.update(Recorder)
        .where(Recorder.id == recorder_id)
        .values(
            heartbeat_at=sa.func.clock_timestamp(),
            media_bytes=totals.media_bytes,
            media_seconds=totals.media_seconds,
            restarts=totals.restarts,
        )
    )


def leave(session: Session, recorder_id: UUID, totals: Totals) -> None:
    """Say that the recorder stopped in good order."""
    beat(session, recorder_id, totals)
    ours = sa.update(Capture).where(Capture.recorder_id == recorder_id)
    session.execute(ours.values(state=CaptureState.STOPPED, updated_at=now()))
    row = sa.update(Recorder).where(Recorder.id == recorder_id)
    session.execute(row.values(stopped_at=sa.func.clock_timestamp()))


_TYPES: Final = {
    "channel_id": "bigint",
    "recorder_id": "uuid",
    "updated_at": "timestamptz",
    "state": "text",
    "since": "timestamptz",
    "run_id": "uuid",
    "path": "text",
    "file_start_time": "timestamptz",
    "file_bytes": "bigint",
    "file_seconds": "float8",
    "bit_rate": "bigint",
    "codecs": "text",
    "title": "text",
    "last_error": "text",
    "restarts": "bigint",
}
_OWN: Final = tuple(_TYPES)[3:]
_SAVE: Final = sa.text(
    # One parameter for all rows: a statement as long as the rows are many would be compiled anew each time.
    f"INSERT INTO capture ({', '.join(_TYPES)}) SELECT {', '.join(_TYPES)} "  # noqa: S608 - names of ours
    f"FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r({', '.join(map(' '.join, _TYPES.items()))}) "
    f"ON CONFLICT (channel_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _TYPES)}"
)


def save(session: Session, recorder_id: UUID, statuses: Mapping[int, Status]) -> None:
    """Write what the captures say of themselves."""
    if not statuses:
        return
    at = now()
    rows = [
        {"channel_id": channel_id, "recorder_id": recorder_id, "updated_at": at}
        | {name: getattr(status, name) for name in _OWN}
        for channel_id, status in sorted(statuses.items())
    ]
    session.execute(_SAVE, {"rows": orjson.dumps(rows).decode()})
