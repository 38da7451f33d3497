"""Durable files out of units: wall-clock-aligned cuts, hashes, and the order of docs/design/storage.md."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from streamrec.archive import layout, pieces
from streamrec.archive.files import Tree
from streamrec.clock import SystemClock
from streamrec.framing import parted
from streamrec.framing.units import FLICKS, Unit
from streamrec.indexes import Growing
from streamrec.models import FileFormat
from streamrec.recorder.diskfault import FULL, DiskFault, disk_reason
from streamrec.recorder.facts import RunEnded, RunStarted, SegmentClosed, SegmentOpened, closed_fact
from streamrec.recorder.flusher import PATIENCE_SECONDS, Flusher
from streamrec.recorder.spool import Spool

Wall = Callable[[int], datetime]
"""The wall time of a moment of the run's media, in flicks; RunClock.wall."""

_CLOCK = SystemClock()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)
_REMEMBERED = 3  # files; see tail.py
_SHORTEST = timedelta(milliseconds=2)  # two files of a run never have the same millisecond in their keys
_SOONEST = 0.999  # of a file's length; a run's clock steers by half of the rest at most
_EARLY = 0.05  # s; who writes as often as it is to be synced is never in time to the moment
_LEAST_PIECE = pieces.LEAST_SECONDS * FLICKS
_MOST_PIECE = pieces.MOST_SECONDS * FLICKS


@dataclass(slots=True)
class _File:
    """The file being written."""

    opened: SegmentOpened
    begins_at: int  # flicks
    header: bytes
    descriptor: int
    index: pieces.Builder
    piece_at: int  # flicks; where the piece begins that is not listed yet
    is_flushed: bool  # by the flusher, if that is in time
    size: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    is_dirty: bool = False
    written_at: float = 0.0  # monotonic
    is_named: bool = False  # after a power cut, too, whatever the flusher did
    growing: Growing | None = None  # what was last said of it, if that is still all

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]
        self.digest.update(data)
        self.size += len(data)
        self.is_dirty = True


class SegmentWriter:
    """The files of one run. Synchronous and blocking: one capture at a time calls it, from a worker thread.

    Spools RunStarted before its first file, SegmentOpened and SegmentClosed for each, RunEnded at the end.
    `segment_seconds` and `keyname` may be set at any time and hold from the next file.
    """

    def __init__(
        self,
        *,
        archive: Tree,
        spool: Spool,
        run: RunStarted,
        keyname: str,
        segment_seconds: int,
        sync_seconds: float = 2.0,
        media: int = 0,
        flusher: Flusher | None = None,
        monotonic: Callable[[], float] = _CLOCK.monotonic,
    ) -> None:
        """`media` is where, in flicks of the run's clock, the first unit to be appended begins.

        With a `flusher`, a file is synced only when that is late.
        """
        self.segment_seconds = segment_seconds
        self.keyname = keyname
        self.media = media
        """Where the next unit will begin, in flicks of the run's clock."""
        self.closed: deque[SegmentClosed] = deque(maxlen=_REMEMBERED)
        """The last files that were closed."""
        self._archive = archive
        self._spool = spool
        self._run = run
        self._sync_seconds = sync_seconds
        self._monotonic = monotonic
        self._synced_at = monotonic()
        self._flusher = flusher
        self._file: _File | None = None
        self._boundary = _EPOCH  # the current file ends at the first cut from here on
        self._ask_from = 0  # flicks; before here the boundary cannot be
        self._ends_at = 0  # flicks; where it will be, about
        self._look_from = 0  # flicks; before here neither the file nor a piece of it can end
        self._is_started = self._is_over = False

    def append(self, units: Sequence[Unit], wall: Wall) -> None:
        """Write `units`, beginning a new file at the first cut at or after each wall-clock multiple.

        `wall` (RunClock.wall) is asked for the boundaries of files. Raises DiskFault.
        """
        assert not self._is_over, "the run is over"
        batch: list[bytes] = []
        arrived = self.media  # where the batch ends
        for unit in self._singled(units):
            if self._file is None or arrived >= self._look_from:
                if self._file is None or (unit.is_cut and self._ends_here(self._file, unit, arrived, wall)):
                    self._write(batch, arrived, wall)
                    batch = []
                    self._begin(unit, wall)
                elif self._piece_ends_here(self._file, unit, arrived):
                    self._write(batch, arrived, wall)
                    batch = []
                    self._end_piece(self._file, wall(arrived))
            batch.append(unit.data)
            arrived += unit.duration
        self._write(batch, arrived, wall)

    def _singled(self, units: Sequence[Unit]) -> Iterator[Unit]:
        """The same, but with a frame of its own where a file or a piece of it may begin."""
        arrived = self.media
        for unit in units:
            waiting = [unit]
            while waiting:
                first = waiting.pop()
                before = self._frames_before(first, arrived)
                if before < first.frames:
                    waiting += reversed(parted(self._run.format, first, before))
                else:
                    yield first
                    arrived += first.duration

    def _frames_before(self, unit: Unit, arrived: int) -> int:
        """How many of a unit's frames go together: those that begin before it is time to look; one at least."""
        if unit.frames == 1:
            return 1
        each = max(1, unit.duration // unit.frames)  # pictures whose stamps stand still last no time
        return 1 if self._file is None else max(1, -((arrived - self._look_from) // each))

    def sync(self) -> None:
        """Make what was written survive a power cut, if `sync_seconds` have passed. Raises DiskFault."""
        file, now = self._file, self._monotonic()
        if file is None or not file.is_dirty or now - self._synced_at < self._sync_seconds - _EARLY:
            return
        if self._flusher is not None and file.is_flushed:
            flushed_at = self._flusher.flushed_at()
            if now - flushed_at < self._sync_seconds + PATIENCE_SECONDS:
                return
        self._sync_own(file, now)

    @property
    def is_overdue(self) -> bool:
        """Whether `sync_seconds` after the last write nobody has synced it: the next may be a segment away."""
        file = self._file
        if file is None or not file.is_dirty or self._monotonic() - file.written_at < self._sync_seconds:
            return False
        return self._flusher is None or not file.is_flushed or not self._flusher.has_flushed(file.written_at)

    def sync_now(self) -> None:
        """Make what was written survive a power cut. Raises DiskFault."""
        if self._file is not None and self._file.is_dirty:
            self._sync_own(self._file, self._monotonic())

    def _sync_own(self, file: _File, now: float) -> None:
        try:
            os.fdatasync(file.descriptor)
            if not file.is_named:
                self._archive.sync_name(file.opened.key)
                file.is_named = True
        except OSError as error:
            raise self._spoiled(file, error) from error
        file.is_dirty = False
        self._synced_at = now

    def close(self, wall: Wall, reason: str) -> SegmentClosed | None:
        """End the current file and the run; None if nothing was written. May be called twice. Raises DiskFault."""
        if self._is_over or self._file is None:
            self._is_over = True
            return None
        closed = self._end_file(self._file, self._after_start(self._file, self.media, wall))
        self._end_run(closed.end_time, reason)
        return closed

    @property
    def key(self) -> str | None:
        """The file being written, below the archive and without ".part"."""
        return self._file.opened.key if self._file else None

    @property
    def start_time(self) -> datetime | None:
        """When the file being written begins."""
        return self._file.opened.start_time if self._file else None

    @property
    def size_bytes(self) -> int:
        """Bytes in the file being written."""
        return self._file.size if self._file else 0

    @property
    def media_seconds(self) -> float:
        """Media seconds in the file being written."""
        return (self.media - self._file.begins_at) / FLICKS if self._file else 0.0

    @property
    def growing(self) -> Growing | None:
        """The file being written, with the pieces of it that the system has taken."""
        file = self._file
        if file is None or file.index.count == 0:
            return None
        if file.growing is None:
            told, data = file.opened, file.index.index().encoded()
            names = (told.uuid, told.run_id, told.key, told.format, told.codecs)
            file.growing = Growing(*names, told.start_time, data)
        return file.growing

    # --- where files and pieces begin and end

    def _ends_here(self, file: _File, unit: Unit, media: int, wall: Wall) -> bool:
        """Whether the boundary is reached, or the file's header would not do for this unit.

        Tables of a transport stream are repeated with other counters all the time and do for any unit.
        """
        if self._run.format is FileFormat.MP4 and unit.header != file.header:
            return wall(media) - file.opened.start_time >= _SHORTEST
        return media >= self._ask_from and wall(media) >= self._boundary

    def _piece_ends_here(self, file: _File, unit: Unit, media: int) -> bool:
        """Whether a player could begin at this unit, or has waited for such a one for too long.

        A transport stream's piece begins with its tables. The last piece of a file is not left too short.
        """
        length = media - file.piece_at
        if length < _LEAST_PIECE or media + _LEAST_PIECE // 2 > self._ends_at:
            return False
        can_begin = unit.is_cut and (self._run.format is not FileFormat.TS or not unit.header)
        return can_begin or length >= _MOST_PIECE

    def _end_piece(self, file: _File, end: datetime) -> None:
        file.index.end_piece(file.size, end)
        file.piece_at = self.media
        file.growing = None
        self._look()

    def _look(self) -> None:
        """Find where to look next; MP4 has few units, and each may need another header."""
        if self._file is not None and self._run.format is not FileFormat.MP4:
            piece_ends = self._file.piece_at + _LEAST_PIECE
            is_last = piece_ends + _LEAST_PIECE // 2 > self._ends_at
            self._look_from = self._ask_from if is_last else min(self._ask_from, piece_ends)

    def _begin(self, unit: Unit, wall: Wall) -> None:
        """End the file before, if there is one, and begin the next at the very same instant."""
        if self._file is None:
            start = wall(self.media)
        else:
            start = self._after_start(self._file, self.media, wall)
            self._end_file(self._file, start)
        self._aim(start)
        self._file = self._open(start, unit)
        self._look()
        self._guarded(self._file, unit.header, wall)

    def _aim(self, start: datetime) -> None:
        """Find the first wall-clock multiple after `start`; multiples count from the epoch."""
        length = timedelta(seconds=self.segment_seconds)
        self._boundary = _EPOCH + ((start - _EPOCH) // length + 1) * length
        away = (self._boundary - start).total_seconds()
        self._ask_from = self.media + int(away * _SOONEST * FLICKS)
        self._ends_at = self.media + int(away * FLICKS)

    def _after_start(self, file: _File, media: int, wall: Wall) -> datetime:
        """The wall time of `media`, but never so early that the file has no length."""
        return max(wall(media), file.opened.start_time + _INSTANT)

    # --- the ordered steps

    def _open(self, start: datetime, unit: Unit) -> _File:
        run = self._run
        key = layout.key(
            keyname=self.keyname, start_time=start, run_id=run.run_id, epoch=run.epoch, format=run.format
        )
        opened = SegmentOpened(uuid4(), run.run_id, run.channel_id, key, run.format, run.codecs, start, run.epoch)
        try:
            if not self._is_started:
                self._spool.append(run)
                self._is_started = True
            self._spool.append(opened)
            descriptor = self._archive.create(key + layout.PART)
        except OSError as error:
            self._spool.done(opened)
            raise self._fault(error, lost_from=start) from error
        header = unit.header if run.format is FileFormat.MP4 else b""  # others have theirs in the first piece
        index = pieces.Builder(start, header)
        is_flushed = self._flusher is not None and self._flusher.reaches(descriptor)
        return _File(opened, self.media, unit.header, descriptor, index, self.media, is_flushed)

    def _write(self, batch: list[bytes], media: int, wall: Wall) -> None:
        if self._file is not None and batch:
            self._guarded(self._file, b"".join(batch), wall)
            self.media = media

    def _guarded(self, file: _File, data: bytes, wall: Wall) -> None:
        """Write; a full disk costs what it did not take, any other error the file."""
        try:
            file.write(data)
            file.written_at = self._monotonic()  # after it: a flush that begins before may not reach all of it
        except OSError as error:
            if error.errno in FULL and self.media > file.begins_at:
                raise self._cut_short(file, error, self._after_start(file, self.media, wall)) from error
            raise self._spoiled(file, error) from error

    def _end_file(self, file: _File, end: datetime, *, is_truncated: bool = False) -> SegmentClosed:
        key = file.opened.key
        file.index.end_piece(file.size, end)
        try:
            os.fsync(file.descriptor)
            self._archive.rename(key + layout.PART, key)
        except OSError as error:
            raise self._spoiled(file, error) from error
        self._release(file)
        closed = closed_fact(
            file.opened, end=end, size=file.size, sha256=file.digest.hexdigest(), is_truncated=is_truncated
        )
        closed = replace(closed, index=base64.b64encode(file.index.index().encoded()).decode())
        self.closed.append(closed)
        try:
            self._spool.append(closed)
        except OSError as error:  # the file is kept and the fact pending, but the next could not be begun
            raise self._fault(error, lost_from=end) from error
        return closed

    def _end_run(self, end: datetime, reason: str) -> None:
        self._is_over = True
        if self._is_started:
            with contextlib.suppress(OSError):  # pending all the same, and told by the next start after a crash
                self._spool.append(RunEnded(self._run.run_id, end, reason))

    def _release(self, file: _File) -> None:
        self._file = None
        self._synced_at = self._monotonic()
        with contextlib.suppress(OSError):  # it was synced, or is given up
            os.close(file.descriptor)

    # --- when the disk fails

    def _cut_short(self, file: _File, error: OSError, end: datetime) -> DiskFault:
        """Keep what a full disk has taken whole: no sync has failed, so it can be believed."""
        try:
            os.ftruncate(file.descriptor, file.size)
        except OSError as again:
            return self._spoiled(file, again)
        try:
            self._end_file(file, end, is_truncated=True)
        except DiskFault as fault:
            return fault
        return self._fault(error, lost_from=end)

    def _spoiled(self, file: _File, error: OSError) -> DiskFault:
        """Give the file up. What is in it stays as ".bad" for a person to look at, and never gets a row.

        A failed sync may have thrown away any of the data, and the next one would not say so. On a disk that has
        become read-only it stays what it is, and the spool's: the next start looks at what the disk has of it.
        """
        self._release(file)
        key = file.opened.key
        is_aside = False
        for name in (key + layout.PART, key):
            with contextlib.suppress(OSError):
                self._archive.rename(name, key + layout.BAD)
                is_aside = True
                break
        if file.size == 0:  # nothing to look at, and a disk that is full must not get a file with every attempt
            with contextlib.suppress(OSError):
                self._archive.unlink(key + layout.BAD)
        if is_aside:
            self._spool.done(file.opened)
        return self._fault(error, lost_from=file.opened.start_time)

    def _fault(self, error: OSError, *, lost_from: datetime) -> DiskFault:
        reason = disk_reason(error)
        self._end_run(lost_from, reason.value)
        return DiskFault(f"The disk refused: {error.strerror}.", reason=reason, lost_from=lost_from)
