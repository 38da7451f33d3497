"""What a start does with what a crash left behind; docs/design/storage.md has the table."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import structlog

from streamrec.archive import layout
from streamrec.archive.files import Tree
from streamrec.clock import now
from streamrec.framing import framer_for
from streamrec.framing.units import FLICKS, Unit, flicks
from streamrec.models import FileFormat
from streamrec.recorder.facts import Fact, RunEnded, SegmentClosed, SegmentOpened, closed_fact
from streamrec.recorder.spool import Spool

_CHUNK = 1 << 18  # bytes
_DAYS = 2  # how far back folders are searched for files that nothing explains

log = structlog.get_logger(__name__)


def recover(archive: Tree, spool: Spool, *, quarantine: Path, others: Callable[[], set[str]] = set) -> list[Fact]:
    """Salvage, close or give up every open file, end every open run; the facts that this added to the spool.

    Needs no database; call it before a capture uses the spool. Files that nothing explains go to `quarantine`:
    not those of recorders that live, whose keys `others` gives. Raises OSError if the disk fails; the same call
    again goes on where this one stopped.
    """
    facts: list[Fact] = []
    with Tree(quarantine) as aside:
        for opened in spool.open_segments():
            closed = _close(archive, opened, aside)
            if closed is None:
                spool.done(opened)
            else:
                spool.append(closed)
                facts.append(closed)
        parts = [name for name in _recent(archive) if name.endswith(layout.PART)]
        alive = others()  # asked after the folders: a file is in a spool before it is in a folder
        for name in parts:
            if name.removesuffix(layout.PART) not in alive:
                set_aside(archive, name, aside)
    for started, last in spool.open_runs():
        ended = RunEnded(started.run_id, last.end_time if last else started.start_time, "recorder_down")
        spool.append(ended)
        facts.append(ended)
    return facts


def quarantine_unknown(
    archive: Tree,
    spool: Spool,
    *,
    quarantine: Path,
    known: Callable[[Sequence[str]], set[str]],
    others: Callable[[], set[str]] = set,
) -> list[str]:
    """Move recent final files that neither the spool nor the database knows; the keys moved.

    `known` answers which of some keys have a row, `others` which are in the spools of other recorders. Call it
    once the pending facts have been replayed.
    """
    finals = [name for name in _recent(archive) if _is_key(name)]
    told = [*spool.pending(), *spool.open_segments()]
    spooled = {fact.key for fact in told if isinstance(fact, SegmentClosed | SegmentOpened)} | others()
    asked = [name for name in finals if name not in spooled]
    unknown = sorted(set(asked) - known(asked))
    with Tree(quarantine) as aside:
        for name in unknown:
            set_aside(archive, name, aside)
    return unknown


def shortened(archive: Tree, fact: SegmentClosed, until: datetime, aside: Tree) -> SegmentClosed | None:
    """The file cut to its whole units up to `until`, with a copy of all of it set aside; None if none is left.

    Raises OSError; the same call again does the same.
    """
    measured = _measure(archive, fact.key, fact, most=flicks(until - fact.start_time))
    if measured.duration == 0:
        set_aside(archive, fact.key, aside)
        return None
    _copy_aside(archive, fact.key, aside)
    _cut(archive, fact.key, measured.size)
    whole = _measure(archive, fact.key, fact)
    return replace(fact, end_time=until, size_bytes=whole.total, sha256=whole.sha256, truncated=True, index=None)


# --- one file


def _close(archive: Tree, opened: SegmentOpened, aside: Tree) -> SegmentClosed | None:
    """The file of `opened`, made durable under its final name; None if there is nothing to keep."""
    part = opened.key + layout.PART
    if archive.exists(opened.key):
        is_truncated = False  # it was whole before it was renamed
    elif archive.exists(part):
        if not _cut_to_whole_units(archive, part, opened):
            set_aside(archive, part, aside)
            return None
        archive.rename(part, opened.key)
        is_truncated = True
    else:
        log.warning("file missing", action="segment_missing", key=opened.key)
        return None
    return _closed(archive, opened, is_truncated=is_truncated)


def _cut_to_whole_units(archive: Tree, part: str, opened: SegmentOpened) -> bool:
    """Truncate to the last whole unit and sync; whether anything is left."""
    measured = _measure(archive, part, opened)
    if measured.duration == 0:
        return False
    _cut(archive, part, measured.size)
    return True


def _cut(archive: Tree, name: str, size: int) -> None:
    file = archive.open(name, os.O_WRONLY)
    try:
        os.ftruncate(file, size)
        os.fsync(file)
    finally:
        os.close(file)


def _closed(archive: Tree, opened: SegmentOpened, *, is_truncated: bool) -> SegmentClosed:
    """Hash the file and let it end where its media does."""
    measured = _measure(archive, opened.key, opened)
    length = timedelta(microseconds=max(1, measured.duration * 1_000_000 // FLICKS))
    end = opened.start_time + length
    log.info(
        "file salvaged",
        action="segment_salvaged",
        key=opened.key,
        seconds=length.total_seconds(),
        cut=is_truncated,
    )
    return closed_fact(opened, end=end, size=measured.total, sha256=measured.sha256, is_truncated=is_truncated)


class _Measured(NamedTuple):
    size: int  # bytes up to the end of the last whole unit
    duration: int  # flicks up to there
    total: int  # bytes read
    sha256: str  # of all bytes


def _measure(
    archive: Tree, name: str, fact: SegmentOpened | SegmentClosed, *, most: int | None = None
) -> _Measured:
    """Walk a file as the writer wrote it: a header, then units with nothing between, at most `most` flicks."""
    walk, digest, total = _Walk(fact.format, most), hashlib.sha256(), 0
    file = archive.open(name)
    try:
        while chunk := os.read(file, _CHUNK):
            digest.update(chunk)
            total += len(chunk)
            walk.feed(chunk)
    finally:
        os.close(file)
    walk.finish()
    return _Measured(walk.size, walk.duration, total, digest.hexdigest())


class _Walk:
    """How far a file consists of whole units. Stops at the first byte that belongs to none."""

    def __init__(self, file_format: FileFormat, most: int | None) -> None:
        self.size = self.duration = 0
        self._most = most
        self._framer = framer_for(file_format, awaits_cut=False)
        self._unmatched = b""
        self._is_over = False

    def feed(self, chunk: bytes) -> None:
        if not self._is_over:
            self._unmatched += chunk
            self._match(self._framer.feed(chunk))
            self._is_over = self._is_over or self._framer.dropped > 0

    def finish(self) -> None:
        if not self._is_over:
            self._match(self._framer.flush())

    def _match(self, units: list[Unit]) -> None:
        for unit in units:
            expected = unit.header + unit.data if self.size == 0 else unit.data
            if not self._unmatched.startswith(expected):
                expected = unit.data
            is_enough = self._most is not None and self.duration + unit.duration > self._most
            if is_enough or not self._unmatched.startswith(expected):
                self._is_over = True
                return
            self._unmatched = self._unmatched[len(expected) :]
            self.size += len(expected)
            self.duration += unit.duration


# --- files that nothing explains


def _recent(archive: Tree) -> Iterator[str]:
    """The names in every channel's folders of the last days."""
    today = now()
    days = [today - timedelta(days=back) for back in range(-1, _DAYS)]
    for keyname in archive.names():
        for day in days:
            folder = layout.day_folder(keyname, day)
            yield from (f"{folder}/{name}" for name in archive.names(folder))


def _is_key(name: str) -> bool:
    try:
        layout.parse(name)
    except ValueError:
        return False
    return True


def _copy_aside(archive: Tree, name: str, aside: Tree) -> None:
    """Keep a second copy of a file in the quarantine, durably."""
    kept = f"{now():%Y%m%dT%H%M%S.%fZ}/{name}"
    source, target = archive.open(name), aside.create(kept)
    try:
        while chunk := os.read(source, _CHUNK):
            os.write(target, chunk)
        os.fsync(target)
    finally:
        os.close(source)
        os.close(target)
    log.warning("file copied aside", action="file_quarantined", key=name, quarantine=kept)


def set_aside(archive: Tree, name: str, aside: Tree) -> None:
    """Move a file to the quarantine, below a folder that says when; leave it if that is on another disk."""
    kept = f"{now():%Y%m%dT%H%M%S.%fZ}/{name}"
    try:
        archive.move(name, aside, kept)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        kept = name
    log.warning("file set aside", action="file_quarantined", key=name, quarantine=kept)
