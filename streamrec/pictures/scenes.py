"""Where in a channel's files a moment's picture is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import indexes
from streamrec.archive import layout, pieces
from streamrec.archive.pieces import Index, Piece
from streamrec.models import FileFormat, Origin, Recording, RecordingIndex, Store

_MICROSECOND: Final = timedelta(microseconds=1)
_LONGEST: Final = timedelta(hours=2)  # of a recording: an hour, and what a cut waits for
_UNINDEXED_BYTES: Final = 64 << 20  # of a file without an index; a picture further behind is not looked for
_COLUMNS: Final = (
    Recording.store,
    Recording.path,
    Recording.object_key,
    Recording.format,
    Recording.codecs,
    Recording.sha256,
    Recording.size_bytes,
    Recording.start_time,
    RecordingIndex.data,
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Bytes of a file that begin at or before a key picture, and a moment in them."""

    store: Store
    path: str
    object_key: str | None
    format: FileFormat
    codecs: str
    name: str  # of the file, for caches: its hash, or its id while it is written
    ranges: tuple[tuple[int, int], ...]  # first byte and length: the header if the format has one, and the piece
    seconds: float

    @property
    def has_picture(self) -> bool:
        """Whether there is video in the file."""
        return self.codecs.partition("+")[0] not in {"aac", "mp3", "mp2", "ac3", "eac3", "opus", "vorbis", "flac"}


def find(session: Session, channel_id: int, at: datetime | None) -> Scene | None:
    """The scene of a moment, or of the latest that can be played; None if nothing was recorded then."""
    return _growing(session, channel_id, at) or _closed(session, channel_id, at)


def _closed(session: Session, channel_id: int, at: datetime | None) -> Scene | None:
    statement = (
        sa.select(*_COLUMNS)
        .outerjoin(RecordingIndex, RecordingIndex.recording_id == Recording.id)
        .where(Recording.channel_id == channel_id, Recording.origin == Origin.CAPTURED, Recording.lost.is_(None))
        .order_by(Recording.start_time.desc())
        .limit(1)
    )
    if at is not None:
        since = at - _LONGEST
        statement = statement.where(
            Recording.start_time <= at, Recording.start_time > since, Recording.end_time > at
        )
    row = session.execute(statement).first()
    return None if row is None else _of_recording(row, at)


def _of_recording(row: Any, at: datetime | None) -> Scene:
    index = None if row.data is None else pieces.decoded(row.data)
    if index is None or index.count == 0:
        seconds = 0.0 if at is None else (at - row.start_time) / timedelta(seconds=1)
        ranges: tuple[tuple[int, int], ...] = ((0, min(row.size_bytes, _UNINDEXED_BYTES)),)
    else:
        ranges, seconds = _within(index, row.start_time, at)
    return Scene(row.store, row.path, row.object_key, row.format, row.codecs or "", row.sha256, ranges, seconds)


def _growing(session: Session, channel_id: int, at: datetime | None) -> Scene | None:
    for file in reversed(indexes.open_files(session, channel_id)):
        index = pieces.decoded(file.data)
        if index.count and (at is None or file.start_time <= at < file.start_time + index.length):
            ranges, seconds = _within(index, file.start_time, at)
            path, name = file.path + layout.PART, file.uuid.hex
            return Scene(Store.LOCAL, path, None, file.format, file.codecs, name, ranges, seconds)
    return None


def _within(index: Index, start: datetime, at: datetime | None) -> tuple[tuple[tuple[int, int], ...], float]:
    """The header and the piece in which a moment is, and its seconds in it; the last piece without one."""
    since = None if at is None else (at - start) // _MICROSECOND
    found: Piece | None = None
    for piece in index:
        if found is not None and since is not None and piece.since > since:
            break
        found = piece
    assert found is not None
    seconds = 0.0 if since is None else max(0, since - found.since) / 1e6
    header = ((0, index.header_bytes),) if index.header_bytes else ()
    return (*header, (found.offset, found.size_bytes)), seconds
