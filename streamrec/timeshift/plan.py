"""Which pieces and gaps a playlist has, in which order and under which numbers. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from streamrec.archive import pieces
from streamrec.archive.pieces import Index, Neighbour, Place
from streamrec.models import FileFormat
from streamrec.timeline import Span

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_PART = pieces.GAP_SECONDS * 1_000_000


@dataclass(frozen=True)
class Source:
    """A file to play: a recording, or one that is being written."""

    uuid: UUID
    run_id: UUID | None
    format: FileFormat
    start_time: datetime
    end_time: datetime
    index: Index
    place: Place | None  # None: it follows from the file before
    texts: list[str] = field(default_factory=list, compare=False, repr=False)
    """What has been written of it before, for who writes it again."""

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """All of its pieces, as they are where nothing breaks off before it; kept with the source."""
        start = micros(self.start_time)
        return tuple(Entry(start + since, length, self, at, size, False) for at, size, since, length in self.index)

    @cached_property
    def longest(self) -> int:
        """Microseconds of its longest piece."""
        return max((entry.duration for entry in self.entries), default=0)

    def neighbour(self) -> Neighbour:
        """What counts for the place of the next file."""
        return Neighbour(self.run_id, self.start_time, self.end_time, self.index, self.place)


class Entry(NamedTuple):
    """A piece, or a part of a gap, which has no source."""

    since: int  # microseconds since 1970
    duration: int  # microseconds
    source: Source | None
    offset: int
    size_bytes: int
    is_break: bool  # whether a player must set itself up anew


@dataclass(frozen=True, slots=True)
class Plan:
    """The entries of a playlist."""

    entries: Sequence[Entry]
    place: Place  # of the first entry


def plan(sources: Sequence[Source], window: Span, *, gap_until: datetime | None = None) -> Plan:
    """The entries that overlap `window`; `sources` are in order of time.

    `gap_until` is up to when it is certain that nothing follows the last source; only whole parts are told.
    Gaps before the first source are not told.
    """
    entries: list[Entry] = []
    broken: list[int] = []
    anchor, at = pieces.FIRST, 0
    before: Source | None = None
    for source in sources:
        if before is not None:
            entries += _gap(before.end_time, source.start_time)
        if source.place is not None:
            anchor, at = source.place, len(entries)
        found = _pieces(source, before)
        if found and found[0].is_break:
            broken.append(len(entries))
        entries += found
        before = source
    if before is not None and gap_until is not None:
        entries += [part for part in _gap(before.end_time, gap_until) if part.duration == _PART]
    return _cut(entries, window, anchor, at, broken)


def _cut(entries: list[Entry], window: Span, anchor: Place, at: int, broken: list[int]) -> Plan:
    """The entries inside the window; entry number `at` has the place `anchor`, those of `broken` are breaks."""
    first = bisect_right(entries, micros(window.start), key=lambda entry: entry.since + entry.duration)
    last = max(first, bisect_left(entries, micros(window.end), key=lambda entry: entry.since))
    lower, upper = sorted((first, at))
    breaks = bisect_right(broken, upper) - bisect_right(broken, lower)
    breaks = breaks if first > at else -breaks
    return Plan(
        entries[first:last], Place(max(0, anchor.number + first - at), max(0, anchor.discontinuity + breaks))
    )


def _pieces(source: Source, before: Source | None) -> Sequence[Entry]:
    """The pieces of a file, without those that begin before the one before it ends."""
    if before is None:
        return source.entries
    found: Sequence[Entry] = source.entries
    if before.end_time > source.start_time:
        floor = micros(before.end_time)
        found = [entry for entry in found if entry.since >= floor]
    is_next = pieces.is_continuous(before.neighbour(), source.run_id, source.start_time, source.index.header_crc)
    return found if is_next or not found else [found[0]._replace(is_break=True), *found[1:]]


def _gap(start: datetime, end: datetime) -> Iterator[Entry]:
    count = pieces.gap_parts(start, end)
    since, until = micros(start), micros(end)
    for number in range(count):
        begins = since + number * _PART
        yield Entry(begins, (until if number == count - 1 else begins + _PART) - begins, None, 0, 0, False)


def micros(instant: datetime) -> int:
    """Microseconds since 1970."""
    return (instant - _EPOCH) // _TICK
