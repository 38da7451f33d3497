"""A recorder's own rows: who it is, that it lives, and what its captures do. Times are the database's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import indexes
from streamrec.archive.room import Room
from streamrec.clock import now
from streamrec.models import Capture, CaptureState, Recorder
from streamrec.recorder.status import Status, Totals

_TALLY: Final = sa.text(
    "UPDATE recorder SET media_bytes = :media_bytes, media_seconds = :media_seconds, restarts = :restarts, "
    "loop_lag_seconds = :lag, loop_lag_most_seconds = :most, "
    "storage_fault = :storage_fault, free_bytes = :free_bytes, disk_bytes = :disk_bytes WHERE id = :id"
)


def tally(
    session: Session,
    recorder_id: UUID,
    totals: Totals,
    *,
    storage_fault: str | None = None,
    room: Room | None = None,
) -> None:
    """Write what the recorder has done since its start, how late it is, why it may not write and its room."""
    done = {"media_bytes": totals.media_bytes, "media_seconds": totals.media_seconds, "restarts": totals.restarts}
    lag = {"lag": totals.lag.p99, "most": totals.lag.most}
    left = {"free_bytes": room and room.free_bytes, "disk_bytes": room and room.disk_bytes}
    session.execute(_TALLY, {"id": recorder_id, "storage_fault": storage_fault, **done, **lag, **left})


def keep_in(session: Session, recorder_id: UUID, root_id: UUID) -> None:
    """Say which archive the recorder writes: what it records is looked for there, and nowhere else."""
    session.execute(sa.update(Recorder).where(Recorder.id == recorder_id).values(root_id=root_id))


def leave(session: Session, recorder_id: UUID, totals: Totals) -> None:
    """Say that the recorder's captures stopped in good order."""
    tally(session, recorder_id, totals)
    ours = sa.update(Capture).where(Capture.recorder_id == recorder_id)
    session.execute(ours.values(state=CaptureState.STOPPED, updated_at=now()))


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
    "source_index": "smallint",
}
_OWN: Final = tuple(_TYPES)[3:]
_SAVE: Final = sa.text(
    # One parameter for all rows: a statement as long as the rows are many would be compiled anew each time.
    f"INSERT INTO capture ({', '.join(_TYPES)}) SELECT {', '.join(_TYPES)} "  # noqa: S608 - names of ours
    f"FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r({', '.join(map(' '.join, _TYPES.items()))}) "
    "WHERE NOT EXISTS (SELECT FROM assignment a "
    "WHERE a.channel_id = r.channel_id AND a.recorder_id <> r.recorder_id) "
    f"ON CONFLICT (channel_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _TYPES)}"
)


def save(session: Session, recorder_id: UUID, statuses: Mapping[int, Status]) -> None:
    """Write what the captures say of themselves, but for channels that another recorder was given."""
    if not statuses:
        return
    at = now()
    rows = [
        {"channel_id": channel_id, "recorder_id": recorder_id, "updated_at": at}
        | {name: getattr(status, name) for name in _OWN}
        for channel_id, status in sorted(statuses.items())
    ]
    session.execute(_SAVE, {"rows": orjson.dumps(rows).decode()})
    growing = [(channel_id, status.growing) for channel_id, status in sorted(statuses.items()) if status.growing]
    indexes.grow(session, growing)
