"""What there is to play of a channel: recordings with their indexes, and the file that is being written."""

from __future__ import annotations

import threading
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

    def source(self, index: Index | None) -> Source | None:
        """What is played by an index."""
        if index is None:
            return None
        place = (
            None if self.number is None or self.discontinuity is None else Place(self.number, self.discontinuity)
        )
        return Source(self.uuid, self.run_id, self.format, self.start_time, self.end_time, index, place)


Version = tuple[str, str | None, int]
"""Which transactions wrote a recording's row and its index's (PostgreSQL's xmin), and the file's size."""


class Kept:
    """Recordings with their sources and what was written of those, the latest. Safe to use from threads.

    What is recorded does not change, but a row may: it is as it was while its version is the same.
    """

    def __init__(self, most_pieces: int) -> None:
        self._most = most_pieces
        self._pieces = 0
        self._known: dict[int, tuple[Version, Closed, Source]] = {}
        self._lock = threading.Lock()

    def get(self, recording_id: int, version: Version) -> Closed | None:
        """The row, if it is known in this version."""
        with self._lock:
            kept = self._known.get(recording_id)
            return kept[1] if kept is not None and kept[0] == version else None

    def add(self, version: Version, row: Closed) -> None:
        """Keep a row, if it can be played."""
        source = row.source(row.sound_index)
        with self._lock:
            self._forget(row.id)
            if source is None:
                return
            self._known[row.id] = version, row, source
            self._pieces += source.index.count
            while self._pieces > self._most and len(self._known) > 1:
                self._forget(next(iter(self._known)))

    def source(self, row: Closed) -> Source | None:
        """What is played of a row, unless its index is missing or not of its bytes."""
        with self._lock:
            kept = self._known.get(row.id)
        return kept[2] if kept is not None and kept[1] is row else row.source(row.sound_index)

    def _forget(self, recording_id: int) -> None:
        kept = self._known.pop(recording_id, None)
        if kept is not None:
            self._pieces -= kept[2].index.count


_KEPT: Final = Kept(100_000)
"""Of a process: a day of four radios, 40 MB with their lines."""


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


_VERSION: Final[tuple[Any, ...]] = (
    Recording.id,
    sa.literal_column(f"{Recording.__tablename__}.xmin::text"),
    sa.literal_column(f"{RecordingIndex.__tablename__}.xmin::text"),
    Recording.size_bytes,
)
_IDS: Final = sa.ARRAY(sa.BigInteger)


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
        sa.select(*_VERSION)
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
    versions: dict[int, Version] = {row[0]: tuple(row[1:]) for row in rows}
    return _known(session, versions)


def _known(session: Session, versions: dict[int, Version]) -> list[Closed]:
    """The rows in the same order; what is not known of them is read."""
    found = {number: _KEPT.get(number, version) for number, version in versions.items()}
    unknown = [number for number, row in found.items() if row is None]
    if unknown:
        statement = sa.select(*_COLUMNS).outerjoin(RecordingIndex, RecordingIndex.recording_id == Recording.id)
        each: Any
        for each in session.execute(statement.where(Recording.id == sa.any_(sa.literal(unknown, _IDS)))):
            row = Closed(*each)
            found[row.id] = row
            _KEPT.add(versions[row.id], row)
    return [row for row in found.values() if row is not None]


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


def measured(found: Shelf, archive: Reading) -> dict[int, Index]:
    """The indexes of those recordings that lack one, by id. Blocks; call it outside a transaction.

    Raises:
        Unavailable: it takes long; what is done already is kept if the caller asks again.
    """
    deadline = time.monotonic() + MEASURING_SECONDS
    indexed: dict[int, Index] = {}
    for row in found.closed:
        if _KEPT.source(row) is None and time.monotonic() < deadline:
            index = _measured(row, archive)
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
        source = _KEPT.source(row) or row.source(indexed.get(row.id))
        if source is not None:
            playable.append(source)
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


def require_all(found: Shelf, indexed: dict[int, Index], archive: Reading) -> None:
    """Raises Unavailable if a recording that has a file still lacks its index."""
    missing = [row for row in found.closed if _KEPT.source(row) is None and row.id not in indexed]
    if any(archive.size(row) for row in missing[-1:]):
        raise Unavailable("These recordings are being indexed for playing; try again.", recordings=len(missing))
