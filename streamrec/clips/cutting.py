"""The bytes of a take: whole files and exact stretches of frames, copied inside the kernel."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple

from streamrec import roots
from streamrec.archive.files import Tree
from streamrec.archive.places import Reading
from streamrec.clips.plan import Source, Take
from streamrec.errors import Lost, Unavailable
from streamrec.framing import framer_for, index
from streamrec.framing.index import Frames
from streamrec.framing.psi import PACKET
from streamrec.framing.skew import TICKS, picture_skew
from streamrec.framing.units import FLICKS, Unit
from streamrec.media.process import FilePart
from streamrec.models import FileFormat, Store

STEP_BYTES: Final = 4 << 20
READ_BYTES: Final = 1 << 20
_CANNOT_COPY: Final = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}


@dataclass(frozen=True, slots=True)
class Cut:
    """A stretch of a file. `start` and `end` are the times of its first frame and of what follows the last one.

    `lead` is how much of it, at its beginning, comes before what was wanted and only serves to decode that.
    """

    source: Source
    first: int
    last: int
    start: datetime
    end: datetime
    header: bytes = b""
    lead: timedelta = timedelta()

    @property
    def size_bytes(self) -> int:
        return len(self.header) + self.last - self.first

    @property
    def is_whole(self) -> bool:
        """Whether it is the file as it was recorded."""
        return not self.header and (self.first, self.last) == (0, self.source.size_bytes)


@dataclass(frozen=True, slots=True)
class Recordings:
    """Opens recordings wherever they lie; one in a bucket is fetched into `folder`, where it has no name."""

    archive: Tree
    reading: Reading
    folder: Path

    def open(self, source: Source) -> int:
        """A descriptor, to be closed. Raises OSError, StorageAway."""
        if source.store is Store.LOCAL:
            return self.archive.open(source.key)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            with roots.proving_bucket(self.reading):
                file.writelines(self.reading.stream(source))
            file.flush()
            return os.dup(file.fileno())


@contextmanager
def opened(archive: Recordings, source: Source) -> Iterator[int]:
    """A descriptor of a recording's file.

    Raises:
        Unavailable: it is not there, or not as long as its row says.
    """
    try:
        descriptor = archive.open(source)
    except OSError as exc:
        raise Unavailable(
            f"The file of recording {source.recording_id} cannot be read.", recording_id=source.recording_id
        ) from exc
    try:
        if os.fstat(descriptor).st_size != source.size_bytes:
            raise Unavailable(
                f"The file of recording {source.recording_id} is not as long as its row says.",
                recording_id=source.recording_id,
            )
        yield descriptor
    finally:
        os.close(descriptor)


def cut(archive: Recordings, take: Take, *, warm_up: int = 0, is_first: bool = True) -> Cut | None:
    """Where a take lies in its file, to the frame; None if no frame begins in it.

    Of audio, exactly the frames that begin in the take, so that takes which meet share none and miss none; with
    `warm_up`, so many more before them as a lead. Of television, from the last picture at or before its start at
    which a file may begin, to the first picture at or after its end. Only what `is_first` brings MP4's header.
    """
    source = take.source
    if take.is_whole and (is_first or source.format is not FileFormat.MP4):
        return Cut(source, 0, source.size_bytes, source.span.start, source.span.end)
    with opened(archive, source) as file:
        if index.is_indexed(source.format):
            return _cut_frames(file, take, warm_up)
        found = _cut_pictures(file, take)
    return found if is_first or found is None else replace(found, header=b"")


def _cut_frames(file: int, take: Take, warm_up: int) -> Cut | None:
    span = take.source.span
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as data:
        frames = index.indexed(data, take.source.format)
    first = 0 if take.start is None else frames.at(_fraction(take.start, take.source))
    last = len(frames) if take.end is None else frames.at(_fraction(take.end, take.source))
    if first >= last:
        return None
    begun = max(0, first - warm_up)
    times = [span.start + span.duration * frames.share(number) for number in (begun, first, last)]
    return Cut(
        take.source,
        0 if begun == 0 else frames.offsets[begun],
        _end_of(frames, last),
        times[1],
        times[2],
        lead=times[1] - times[0],
    )


def _end_of(frames: Frames, last: int) -> int:
    return frames.offsets[last]


def _fraction(moment: datetime, source: Source) -> Fraction:
    """How far into a recording a moment is; exact, so that a frame is on the same side of it for every clip."""
    micro = timedelta(microseconds=1)
    return Fraction((moment - source.span.start) // micro, source.span.duration // micro)


def _cut_pictures(file: int, take: Take) -> Cut | None:
    """Reads no further than it must; a picture's time is counted from the start of its file."""
    source, span = take.source, take.span
    position, flicks = 0, 0
    first: _Beginning | None = None
    for unit in _units(file, source.format):
        moment = _after(source, flicks)
        if source.format is FileFormat.MP4 and position == 0:
            position = len(unit.header)  # it stands there once, and in no unit's data
        if first is not None and take.end is not None and moment >= span.end:
            return _of_pictures(source, first, position, moment, span.start)
        if first is None or (unit.is_cut and moment <= span.start):
            first = _Beginning(position, moment, unit.header)
        position += len(unit.data)
        flicks += unit.duration
    return first and _of_pictures(source, first, source.size_bytes, source.span.end, span.start)


class _Beginning(NamedTuple):
    position: int
    start: datetime
    header: bytes


def _of_pictures(source: Source, first: _Beginning, last: int, end: datetime, wanted: datetime) -> Cut:
    lead = max(timedelta(), wanted - first.start)
    return Cut(source, first.position, last, max(first.start, wanted), end, first.header, lead)


def _after(source: Source, flicks: int) -> datetime:
    return source.span.start + timedelta(microseconds=flicks * 1_000_000 // FLICKS)


def _units(file: int, format: FileFormat) -> Iterator[Unit]:  # noqa: A002
    framer = framer_for(format, awaits_cut=False)
    at = 0
    while data := os.pread(file, READ_BYTES, at):
        at += len(data)
        yield from framer.feed(data)
    yield from framer.flush()


def skew(archive: Recordings, piece: Cut) -> timedelta:
    """How much later the picture of a stretch begins than the stretch itself; players begin with the sound."""
    if piece.source.format is not FileFormat.TS:
        return timedelta()
    with opened(archive, piece.source) as file:
        data = os.pread(file, READ_BYTES, piece.first)
    return timedelta(seconds=picture_skew(data[: len(data) // PACKET * PACKET]) / TICKS)


# --- copying ----------------------------------------------------------------------------------------------


def copied(archive: Recordings, piece: Cut, target: int, *, told: Callable[[int], None]) -> None:
    """Append a stretch to an open file, `told` of every few megabytes."""
    if piece.header:
        write(target, piece.header)
    with opened(archive, piece.source) as file:
        position = piece.first
        while position < piece.last:
            count = _copied_some(file, target, min(STEP_BYTES, piece.last - position), position)
            position += count
            told(count)


def write(target: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(target, rest) :]


def _copied_some(file: int, target: int, count: int, offset: int) -> int:
    """Between file systems that cannot share, the bytes pass through here."""
    try:
        done = os.copy_file_range(file, target, count, offset_src=offset)
        if done:
            return done
    except OSError as exc:
        if exc.errno not in _CANNOT_COPY:
            raise
    data = os.pread(file, min(count, READ_BYTES), offset)
    if not data:
        raise Unavailable("A recording's file became shorter while it was read.")
    write(target, data)
    return len(data)


def parts(archive: Recordings, piece: Cut) -> Iterator[bytes | FilePart]:
    """The bytes of a stretch, for a pipe; a file is open as long as its part is looked at."""
    if piece.header:
        yield piece.header
    with opened(archive, piece.source) as file:
        for position in range(piece.first, piece.last, STEP_BYTES):
            yield FilePart(file, position, min(STEP_BYTES, piece.last - position))


def originals(archive: Recordings, source: Source) -> Iterator[bytes]:
    """The bytes of a whole recording, hashed on their way.

    Raises:
        Lost: they are not what was recorded, which is known only behind the last of them.
    """
    digest = hashlib.sha256()
    with opened(archive, source) as file:
        position = 0
        while position < source.size_bytes:
            data = os.pread(file, READ_BYTES, position)
            if not data:
                raise Unavailable("A recording's file became shorter while it was read.")
            position += len(data)
            digest.update(data)
            yield data
    check_hash(source, digest.hexdigest())


def check_hash(source: Source, sha256: str) -> None:
    """Raises Lost: the bytes that have this hash are not those that were recorded."""
    if sha256 != source.sha256:
        raise Lost(
            f"The file of recording {source.recording_id} is not what was recorded: it has another SHA-256.",
            recording_id=source.recording_id,
        )
