"""The index of a recorded file: pieces of a few seconds that players can fetch by their bytes. Pure."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

LEAST_SECONDS: Final = 4
"""A piece ends at the first cut from here on."""
MOST_SECONDS: Final = 12
"""A piece without a cut ends here; a player then shows nothing until the next key picture."""
GAP_SECONDS: Final = 6
"""A hole is told to players in parts of at most this length."""
SHORTEST_GAP: Final = timedelta(milliseconds=100)
"""What is missing between two files is worth telling from here on."""

_HEAD = struct.Struct("<II")  # header bytes, their CRC-32
_PIECE = struct.Struct("<II")  # bytes, microseconds
_MOST = 0xFFFFFFFF


class Piece(NamedTuple):
    """A stretch of a file that players may ask for."""

    offset: int  # bytes
    size_bytes: int
    since: int  # microseconds after the file's start
    duration: int  # microseconds of wall time, which the run's clock steers by at most 500 ppm


@dataclass(frozen=True, slots=True)
class Index:
    """Where a file's pieces are. They follow each other without a byte between, behind the header."""

    header_bytes: int  # of MP4's ftyp and moov; other formats need none
    header_crc: int  # tells whether two files need the same header
    packed: bytes  # two little-endian 32-bit numbers a piece

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return len(self.packed) // _PIECE.size

    def __iter__(self) -> Iterator[Piece]:
        offset, since = self.header_bytes, 0
        for size, duration in _PIECE.iter_unpack(self.packed):
            yield Piece(offset, size, since, duration)
            offset += size
            since += duration

    @property
    def size_bytes(self) -> int:
        """Where the last piece ends."""
        sizes: Iterator[int] = (size for size, _ in _PIECE.iter_unpack(self.packed))
        return self.header_bytes + sum(sizes)

    @property
    def length(self) -> timedelta:
        """The wall time of all pieces."""
        return timedelta(microseconds=sum(duration for _, duration in _PIECE.iter_unpack(self.packed)))

    def within(self, size_bytes: int) -> Index:
        """The pieces that lie in the first bytes of the file: what a power cut took is not listed."""
        count = sum(piece.offset + piece.size_bytes <= size_bytes for piece in self)
        return Index(self.header_bytes, self.header_crc, self.packed[: count * _PIECE.size])

    def encoded(self) -> bytes:
        """The form in which the database keeps it: 8 bytes, and 8 for each piece."""
        return _HEAD.pack(self.header_bytes, self.header_crc) + self.packed


def decoded(data: bytes) -> Index:
    """What `encoded` gave. Raises ValueError."""
    if len(data) < _HEAD.size or (len(data) - _HEAD.size) % _PIECE.size:
        raise ValueError("not an index")
    header_bytes, header_crc = _HEAD.unpack_from(data)
    return Index(header_bytes, header_crc, data[_HEAD.size :])


@dataclass(slots=True)
class Builder:
    """An index that grows with its file."""

    start: datetime
    header: bytes = b""
    _packed: bytearray = field(default_factory=bytearray)
    _size: int = -1
    _since: int = 0

    def end_piece(self, size_bytes: int, wall: datetime) -> None:
        """A piece ends where the file has `size_bytes`, at the wall time `wall`; an empty one is none."""
        before = len(self.header) if self._size < 0 else self._size
        since = max((wall - self.start) // timedelta(microseconds=1), self._since + 1)
        size, duration = size_bytes - before, since - self._since
        if 0 < size <= _MOST and duration <= _MOST:
            self._packed += _PIECE.pack(size, duration)
            self._size, self._since = size_bytes, since

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return len(self._packed) // _PIECE.size

    def index(self) -> Index:
        """What there is so far."""
        return Index(len(self.header), zlib.crc32(self.header), bytes(self._packed))


class Place(NamedTuple):
    """Where a file stands in the sequence of its channel's pieces."""

    number: int  # of its first piece: the media sequence number (RFC 8216, 4.3.3.2)
    discontinuity: int  # the discontinuity sequence number (4.3.3.3)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What of a file counts for the place of the next one."""

    run_id: UUID | None
    start_time: datetime
    end_time: datetime
    index: Index | None
    place: Place | None


FIRST: Final = Place(0, 0)


def gap_parts(start: datetime, end: datetime) -> int:
    """In how many parts players are told that `[start, end)` is missing; 0 if that is not worth it.

    Each has GAP_SECONDS but the last, which has what is left, and a little more rather than next to nothing.
    """
    missing = end - start
    if missing < SHORTEST_GAP:
        return 0
    return max(1, math.ceil((missing - SHORTEST_GAP) / timedelta(seconds=GAP_SECONDS)))


def is_continuous(before: Neighbour, run_id: UUID | None, start: datetime, header_crc: int) -> bool:
    """Whether a player may go on from one file to the next without setting itself up anew."""
    is_same = before.run_id == run_id and before.index is not None and before.index.header_crc == header_crc
    return is_same and gap_parts(before.end_time, start) == 0


def place_after(before: Neighbour | None, run_id: UUID | None, start: datetime, header_crc: int) -> Place:
    """The place of a file that begins at `start`, behind the channel's last one before it."""
    if before is None:
        return FIRST
    number, discontinuity = before.place or FIRST
    number += (before.index.count if before.index else 0) + gap_parts(before.end_time, start)
    return Place(number, discontinuity + (not is_continuous(before, run_id, start, header_crc)))
