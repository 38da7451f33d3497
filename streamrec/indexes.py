"""The indexes of recordings as rows: each with its place in the channel's sequence of pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from streamrec import db
from streamrec.archive import pieces
from streamrec.archive.pieces import Index, Neighbour, Place
from streamrec.models import FileFormat, OpenFile, Origin, Recording, RecordingIndex

_BOUNDS = (Recording.run_id, Recording.start_time, Recording.end_time)
_INDEX = (RecordingIndex.data, RecordingIndex.number, RecordingIndex.discontinuity)


@dataclass(frozen=True, slots=True)
class Growing:
    """What there is to play of a file that is being written."""

    uuid: UUID
    run_id: UUID
    key: str
    format: FileFormat
    codecs: str
    start_time: datetime
    data: bytes


# --- closed files -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class New:
    """The index of a recording that was just made."""

    recording_id: int
    channel_id: int
    run_id: UUID | None
    start_time: datetime
    index: Index


def add_all(session: Session, new: Sequence[New]) -> None:
    """Keep the indexes of recordings of as many channels, each at its place in the sequence of its channel."""
    if not new:
        return
    before = _lasts_before(session, {each.channel_id: each.start_time for each in new})
    rows = []
    for each in new:
        place = pieces.place_after(
            before.get(each.channel_id), each.run_id, each.start_time, each.index.header_crc
        )
        data = {"recording_id": each.recording_id, "data": each.index.encoded()}
        rows.append(data | {"number": place.number, "discontinuity": place.discontinuity})
    row = insert(RecordingIndex)
    same = [RecordingIndex.recording_id]
    session.execute(row.on_conflict_do_update(index_elements=same, set_={"data": row.excluded.data}), rows)


def add(session: Session, recording_id: int, index: Index) -> None:
    """Keep the index of a recording that lacked it, or had one of other bytes."""
    columns = (Recording.channel_id, Recording.run_id, Recording.start_time)
    found = sa.select(*columns).where(Recording.id == recording_id).with_for_update(key_share=True)
    row = session.execute(found).one_or_none()
    if row is not None:  # it may have been deleted while it was read
        add_all(session, [New(recording_id, row.channel_id, row.run_id, row.start_time, index)])


def _lasts_before(session: Session, starts: Mapping[int, datetime]) -> dict[int, Neighbour]:
    """The last captured recording before each channel's start, by channel."""
    asked = (
        sa.func.unnest(
            sa.cast(list(starts), postgresql.ARRAY(sa.BigInteger)),
            sa.cast(list(starts.values()), postgresql.ARRAY(db.Instant())),
        )
        .table_valued(sa.column("channel_id", sa.BigInteger), sa.column("start", db.Instant()))
        .render_derived("asked")
    )
    last = (
        sa.select(*_BOUNDS, *_INDEX)
        .outerjoin(RecordingIndex, RecordingIndex.recording_id == Recording.id)
        .where(
            Recording.channel_id == asked.c.channel_id,
            Recording.origin == Origin.CAPTURED,
            Recording.start_time < asked.c.start,
        )
        .order_by(Recording.start_time.desc())
        .limit(1)
        .lateral()
    )
    found = session.execute(sa.select(asked.c.channel_id, *last.c).select_from(asked.join(last, sa.true())))
    return {row[0]: _neighbour(*row[1:]) for row in found}


def _neighbour(
    run_id: UUID | None,
    start: datetime,
    end: datetime,
    data: bytes | None,
    number: int | None,
    discontinuity: int | None,
) -> Neighbour:
    index = None if data is None else pieces.decoded(data)
    place = None if number is None or discontinuity is None else Place(number, discontinuity)
    return Neighbour(run_id, start, end, index, place)


# --- files being written ----------------------------------------------------------------------------------

_TYPES: Final = {
    "uuid": "uuid",
    "channel_id": "bigint",
    "run_id": "uuid",
    "path": "text",
    "format": "text",
    "codecs": "text",
    "start_time": "timestamptz",
    "data": "bytea",
}
_COLUMNS: Final = ", ".join(_TYPES)
_NEW: Final = ", ".join(f"{name} {kind}" for name, kind in _TYPES.items())
_SAVE: Final = sa.text(
    # One parameter for all rows, and no write for those that have not grown.
    f"INSERT INTO open_file ({_COLUMNS}) SELECT {_COLUMNS} "  # noqa: S608 - names of ours
    f"FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r({_NEW}) "
    "WHERE NOT EXISTS (SELECT FROM recording f WHERE f.uuid = r.uuid) "
    "ON CONFLICT (uuid) DO UPDATE SET data = excluded.data, updated_at = now() "
    "WHERE length(open_file.data) < length(excluded.data)"
)
_DROP: Final = sa.text(
    "DELETE FROM open_file o USING open_file newer "
    "WHERE o.channel_id = ANY(:channels) AND newer.channel_id = o.channel_id "
    "AND newer.start_time > o.start_time + interval '1 day'"
)


def grow(session: Session, files: Sequence[tuple[int, Growing]]) -> None:
    """Say what there is of files that are being written; the first of each pair is the channel.

    What was said of a file that never became a recording is forgotten with the first one a day later.
    """
    if not files:
        return
    rows = [
        {
            "uuid": file.uuid,
            "channel_id": channel_id,
            "run_id": file.run_id,
            "path": file.key,
            "format": file.format,
            "codecs": file.codecs,
            "start_time": file.start_time,
            "data": "\\x" + file.data.hex(),
        }
        for channel_id, file in files
    ]
    session.execute(_SAVE, {"rows": orjson.dumps(rows).decode()})
    session.execute(_DROP, {"channels": [channel_id for channel_id, _ in files]})


def close_all(session: Session, uuids: Sequence[UUID]) -> None:
    """The files of these ids are recordings now, or never will be."""
    session.execute(sa.delete(OpenFile).where(OpenFile.uuid.in_(uuids)))


class Open(NamedTuple):
    """A row of a file that is being written, or was when its recorder died."""

    uuid: UUID
    run_id: UUID
    path: str
    format: FileFormat
    codecs: str
    start_time: datetime
    data: bytes
    updated_at: datetime


def open_files(session: Session, channel_id: int) -> list[Open]:
    """The channel's files that are being written, the earliest first; more than one only for a moment."""
    columns = [getattr(OpenFile, name) for name in Open._fields]
    statement = sa.select(*columns).where(OpenFile.channel_id == channel_id).order_by(OpenFile.start_time)
    return [Open(*row) for row in session.execute(statement)]
