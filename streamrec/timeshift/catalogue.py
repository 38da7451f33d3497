"""What there is to play of a channel: recordings with their indexes, and the file that is being written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import indexes
from streamrec.archive import pieces
from streamrec.archive.pieces import Index, Place
from streamrec.archive.places import Reading
from streamrec.errors import NotFound, Unavailable
from streamrec.models import (
    Coverage,
    CoverageKind,
    FileFormat,
    Loss,
    OpenFile,
    Origin,
    Recording,
    RecordingIndex,
    Store,
)
from streamrec.settings import Settings
from streamrec.timeline import Span
from streamrec.timeshift import measuring, reading
from streamrec.timeshift.plan import Source

LONGEST_FILE: Final = timedelta(hours=2)
"""No file is longer: segment_seconds is at most an hour, and a key picture follows before long."""
MEASURING_SECONDS: Final = 5.0
CERTAIN: Final = timedelta(seconds=60)
"""A gap younger than this may yet be filled by what a station sends again."""
STALE: Final = timedelta(seconds=30)


class Closed(NamedTuple):
    """A recording that may be played."""

    id: int
    uuid: UUID
    run_id: UUID | None
    path: str
    format: FileFormat
    start_time: datetime
    end_time: datetime
    size_bytes: int
    store: Store
    object_key: str | None
    data: bytes | None
    number: int | None
    discontinuity: int | None

    @property
    def sound_index(self) -> Index | None:
        """The index, unless it is missing or not of these bytes."""
        index = None if self.data is None else pieces.decoded(self.data)
        return index if index is not None and index.size_bytes == self.size_bytes else None


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a stretch of a channel holds."""

    closed: Sequence[Closed]
    open: Sequence[indexes.Open] = ()
    gap_until: datetime | None = None
    measured: dict[int, Index] = field(default_factory=dict)


# --- what the database knows ------------------------------------------------------------------------------

_COLUMNS: Final = (
    *(Recording.id, Recording.uuid, Recording.run_id, Recording.path, Recording.format),
    *(Recording.start_time, Recording.end_time, Recording.size_bytes, Recording.store, Recording.object_key),
    *(RecordingIndex.data, RecordingIndex.number, RecordingIndex.discontinuity),
)


def shelf(session: Session, channel_id: int, span: Span) -> Shelf:
    """The recordings that overlap `span`, or else the last one of the day before it; and what is being written."""
    closed = _recordings(session, channel_id, span)
    until = max((row.end_time for row in closed), default=span.start)
    latest = sa.select(sa.func.max(Coverage.end_time)).where(
        Coverage.channel_id == channel_id,
        Coverage.kind.in_((CoverageKind.GAP, CoverageKind.LOST)),
        Coverage.end_time > until,
    )
    gap = session.scalar(latest)
    return Shelf(closed, indexes.open_files(session, channel_id), None if gap is None else gap - CERTAIN)


def _recordings(session: Session, channel_id: int, span: Span) -> list[Closed]:
    ours = (
        sa.select(*_COLUMNS)
        .outerjoin(RecordingIndex, RecordingIndex.recording_id == Recording.id)
        .where(
            Recording.channel_id == channel_id,
            Recording.origin == Origin.CAPTURED,
            Recording.lost.is_(None),
            Recording.start_time < span.end,
        )
    )
    inside = ours.where(Recording.start_time > span.start - LONGEST_FILE, Recording.end_time > span.start)
    rows: Sequence[Any] = session.execute(inside.order_by(Recording.start_time)).all()
    if not rows:
        day = ours.where(Recording.start_time > span.start - timedelta(days=1))
        rows = session.execute(day.order_by(Recording.start_time.desc()).limit(1)).all()
    return [Closed(*row) for row in rows]


class Media(NamedTuple):
    """A file of a channel that a player asks for."""

    path: str
    format: FileFormat
    codecs: str | None
    start_time: datetime
    end_time: datetime | None  # None while it is being written
    id: int | None
    store: Store
    object_key: str | None
    size_bytes: int | None
    sha256: str | None
    lost: Loss | None


def media(session: Session, channel_id: int, uuid: UUID) -> Media:
    """A recording, or a file that is being written, under the id that it has from its beginning.

    Raises:
        NotFound: the channel has no such file.
    """
    captured = (Recording.channel_id == channel_id, Recording.origin == Origin.CAPTURED)
    bounds = (Recording.start_time, Recording.end_time)
    place = (Recording.id, Recording.store, Recording.object_key, Recording.size_bytes)
    what = (Recording.sha256, Recording.lost)
    closed = sa.select(Recording.path, Recording.format, Recording.codecs, *bounds, *place, *what)
    row: Any = session.execute(closed.where(Recording.uuid == uuid, *captured)).one_or_none()
    if row is None:
        known = (OpenFile.path, OpenFile.format, OpenFile.codecs, OpenFile.start_time)
        growing = sa.select(*known).where(OpenFile.uuid == uuid, OpenFile.channel_id == channel_id)
        row = session.execute(growing).one_or_none()
        row = row and (*row, None, None, Store.LOCAL, None, None, None, None)
    if row is None:
        raise NotFound("This channel has no such file.", channel_id=channel_id)
    return Media(*row)


# --- what the files add -----------------------------------------------------------------------------------


def measured(found: Shelf, settings: Settings) -> dict[int, Index]:
    """The indexes of those recordings that lack one, by id. Blocks; call it outside a transaction.

    Raises:
        Unavailable: it takes long; what is done already is kept if the caller asks again.
    """
    deadline = time.monotonic() + MEASURING_SECONDS
    indexed: dict[int, Index] = {}
    for row in found.closed:
        if row.sound_index is None and time.monotonic() < deadline:
            index = _measured(row, Reading(settings))
            if index is not None:
                indexed[row.id] = index
    return indexed


def _measured(row: Closed, archive: Reading) -> Index | None:
    span = Span(row.start_time, row.end_time)
    try:
        return measuring.measured(archive.stream(row), row.format, span, row.size_bytes)
    except OSError:  # it is gone: what it held is a gap to players
        return None


def sources(found: Shelf, archive_dir: Path, indexed: dict[int, Index]) -> list[Source]:
    """The files to play, in order. Looks at the disk for how much there is of what is being written."""
    playable: list[Source] = []
    for row in found.closed:
        index = row.sound_index or indexed.get(row.id)
        if index is not None:
            place = (
                None if row.number is None or row.discontinuity is None else Place(row.number, row.discontinuity)
            )
            bounds = (row.start_time, row.end_time)
            playable.append(Source(row.uuid, row.run_id, row.format, *bounds, index, place))
    growing = _growing(found.open, archive_dir)
    if growing is not None and (not playable or growing.start_time > playable[-1].start_time):
        playable.append(growing)
    return playable


def _growing(rows: Iterable[indexes.Open], archive_dir: Path) -> Source | None:
    """The earliest that can be read: until it has a recording, none that comes after it is listed.

    One that has not grown for long, while another did, was left by a recorder that died.
    """
    rows = list(rows)
    newest = max((row.updated_at for row in rows), default=None)
    for row in rows:
        size = reading.size(archive_dir, row.path)
        if newest is not None and row.updated_at >= newest - STALE and size is not None:
            index = pieces.decoded(row.data).within(size)
            end = row.start_time + index.length
            return Source(row.uuid, row.run_id, row.format, row.start_time, end, index, None)
    return None


def require_all(found: Shelf, indexed: dict[int, Index], settings: Settings) -> None:
    """Raises Unavailable if a recording that has a file still lacks its index."""
    missing = [row for row in found.closed if row.sound_index is None and row.id not in indexed]
    if any(Reading(settings).size(row) for row in missing[-1:]):
        raise Unavailable("These recordings are being indexed for playing; try again.", recordings=len(missing))
