"""The end of a channel's archive, read back from its last files when an attempt may go on there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from streamrec.archive.files import Tree
from streamrec.framing import framer_for
from streamrec.framing.units import Unit, flicks
from streamrec.models import FileFormat
from streamrec.recorder import rejoin
from streamrec.recorder.facts import Fact, GapNoted, SegmentClosed
from streamrec.recorder.rejoin import Mark, Tail

FILES: Final = 3  # the last may hold a moment only, and so may the one before it
GAPS: Final = 8
MOST_BYTES: Final = 4 << 20
HEAD_BYTES: Final = 1 << 16  # in which an MP4's header is

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ClosedFile:
    """A durable file of the archive."""

    key: str
    format: FileFormat
    start_time: datetime
    end_time: datetime


@dataclass(frozen=True, slots=True)
class End:
    """Where a channel's archive ends, and what was told of the time after it."""

    files: Sequence[ClosedFile] = ()  # the last, in order
    gaps: Sequence[GapNoted] = ()  # without a break from the last file's end on


NOTHING: Final = End()


def of(closed: SegmentClosed) -> ClosedFile:
    """The file that a fact speaks of."""
    return ClosedFile(closed.key, closed.format, closed.start_time, closed.end_time)


def end(told: Iterable[ClosedFile | Fact]) -> End:
    """The archive's end, out of what is known of a channel; what comes later in it holds. Pure."""
    files: dict[str, ClosedFile] = {}
    gaps: dict[UUID, GapNoted] = {}
    for each in told:
        if isinstance(each, GapNoted):
            gaps[each.uuid] = each
        elif isinstance(each, ClosedFile | SegmentClosed):
            files[each.key] = of(each) if isinstance(each, SegmentClosed) else each
    last = sorted(files.values(), key=lambda file: file.start_time)[-FILES:]
    return End(last, _chained(last[-1].end_time, gaps.values()) if last else [])


def _chained(start: datetime, gaps: Iterable[GapNoted]) -> list[GapNoted]:
    """The gaps that follow each other from `start` on."""
    chain: list[GapNoted] = []
    for gap in sorted(gaps, key=lambda gap: gap.start_time):
        if gap.start_time == start < gap.end_time:
            chain.append(gap)
            start = gap.end_time
    return chain


def read(archive: Tree, files: Sequence[ClosedFile]) -> Tail | None:
    """The last media in files that follow each other without a gap, MOST_BYTES of it at most. Blocks.

    None if there is nothing to read: what cannot be read cannot be gone on with, and is no reason to stop.
    """
    marks: list[Mark] = []
    room = MOST_BYTES
    for file in reversed(_unbroken(files)):
        try:
            data = _end_of(archive, file, room)
        except OSError as error:
            log.warning("a file of the archive cannot be read", key=file.key, error=error.strerror)
            break
        marks[:0] = _marks(file, data)
        room -= len(data)
    return Tail(files[-1].format, rejoin.last(marks), files[-1].end_time) if marks else None


def _unbroken(files: Sequence[ClosedFile]) -> Sequence[ClosedFile]:
    """The files at the end that are of one format and have no gap between them."""
    first = len(files) - 1
    while first > 0:
        before, after = files[first - 1], files[first]
        if before.end_time != after.start_time or before.format is not after.format:
            break
        first -= 1
    return files[max(0, first) :]


def _end_of(archive: Tree, file: ClosedFile, most: int) -> bytes:
    """The file's last `most` bytes, and its beginning where the rest cannot be understood without."""
    descriptor = archive.open(file.key)
    try:
        size = os.fstat(descriptor).st_size
        start = max(0, size - most)
        head = os.pread(descriptor, min(start, HEAD_BYTES), 0) if file.format is FileFormat.MP4 else b""
        return head + os.pread(descriptor, size - start, start)
    finally:
        os.close(descriptor)


def _marks(file: ClosedFile, data: bytes) -> list[Mark]:
    framer = framer_for(file.format, awaits_cut=False)
    units = framer.feed(data)
    if file.format is FileFormat.TS:
        seen = framer.dropped + sum(len(unit.data) for unit in units)
        duration = units[-1].duration if units else flicks(file.end_time - file.start_time)
        units += _last_picture(data[seen:], duration)
    else:
        units += framer.flush()
    return [rejoin.mark(file.format, unit) for unit in units]


def _last_picture(rest: bytes, duration: int) -> list[Unit]:
    """What is left is one unit, because files end with whole ones; a framer could not tell a torn picture."""
    return [Unit(rest, duration, False)] if rest else []
