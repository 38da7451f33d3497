"""Telling MP3 from ADTS from anything else by their frames, and one such stream from another. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from streamrec.framing import adts, mp3
from streamrec.framing.frames import Parse
from streamrec.framing.units import FLICKS
from streamrec.models import FileFormat

ENOUGH: Final = 4  # like frames, one behind the other: nothing else looks like that
_LEAST_BYTES: Final = 1024  # of a stream's end that is looked at
_MOST_BYTES: Final = 8192
_MONO: Final = 3
_SIZE: Final = 7  # bytes of a header, for both


@dataclass(frozen=True, slots=True)
class Codec:
    """One of the two that are recorded as they come."""

    name: str  # ffmpeg's
    format: FileFormat
    parse: Parse
    start: re.Pattern[bytes]


MP3: Final = Codec("mp3", FileFormat.MP3, mp3.header, re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]"))
AAC: Final = Codec("aac", FileFormat.AAC, adts.header, adts.START)


class Kind(NamedTuple):
    """What a stream's frames have in common: another kind needs another run."""

    codec: Codec
    signature: int
    is_mono: bool


class Row(NamedTuple):
    """Like frames, one behind the other."""

    kind: Kind
    start: int
    end: int
    frames: int
    duration: int  # flicks

    @property
    def bytes_per_second(self) -> float:
        return (self.end - self.start) / self.duration * FLICKS


def _row(codec: Codec, data: bytes, start: int) -> Row | None:
    """The longest row that begins at `start`; its last frame may reach beyond the data.

    Stereo and joint stereo may change from frame to frame; mono is another kind.
    """
    parse, counts_channels = codec.parse, codec is MP3
    kind: Kind | None = None
    at, count, duration = start, 0, 0
    while True:
        head = data[at : at + _SIZE]
        frame = parse(head) if len(head) == _SIZE and head[0] == 0xFF else None
        if frame is None:
            break
        is_mono = counts_channels and head[3] >> 6 == _MONO
        if kind is None:
            kind = Kind(codec, frame.signature, is_mono)
        elif frame.signature != kind.signature or is_mono is not kind.is_mono:
            break
        at, count, duration = at + frame.length, count + 1, duration + frame.duration
    return Row(kind, start, at, count, duration) if kind is not None else None


def rows(codec: Codec, data: bytes, enough: int = ENOUGH) -> list[Row]:
    """All rows of at least `enough` frames, in order."""
    found: list[Row] = []
    match = codec.start.search(data)
    while match is not None:
        row = _row(codec, data, match.start())
        if row is not None and row.frames >= enough:
            found.append(row)
            match = codec.start.search(data, row.end)
        else:
            match = codec.start.search(data, match.start() + 1)
    return found


def recognised(data: bytes) -> Row | None:
    """The row that most of `data` is, if there is one."""
    found = [row for codec in (MP3, AAC) for row in rows(codec, data)]
    best = max(found, key=lambda row: row.end - row.start, default=None)
    return best if best is not None and 2 * (best.end - best.start) > len(data) - best.start else None


class Constancy:
    """Sees when a stream becomes another one, for the price of a look at the end of what has come."""

    def __init__(self, row: Row) -> None:
        self.kind = row.kind
        self.bytes_per_second = row.bytes_per_second
        self.is_whole = True
        """Whether what came last ends with frames of our kind."""
        self._tail = self._enough(row)
        self._rest = b""

    def change(self, data: bytes) -> tuple[bytes, bytes] | None:
        """None while all is as before; else what belongs to the old kind, and what to the new one, now `kind`."""
        before, length = self._rest, self._tail
        self._rest = data[-length:] if len(data) >= length else (before + data)[-length:]
        row = self._at_end(self._rest)
        buffer = b"" if row is not None else before + data
        if row is None:
            row = next((row for row in rows(self.kind.codec, buffer) if self._is_last(row, buffer)), None)
        self.is_whole = row is not None and row.kind == self.kind
        if row is not None and row.kind == self.kind:
            self.bytes_per_second += (row.bytes_per_second - self.bytes_per_second) / 8
            return None
        other = row or next((row for row in rows(self._other, buffer) if self._is_last(row, buffer)), None)
        if other is None:
            return None
        was, self.kind, self.bytes_per_second = self.kind, other.kind, other.bytes_per_second
        self._tail = self._enough(other)
        cut = max(0, other.start - (len(buffer) - len(data)))
        # What came before and was another codec's was understood by nobody yet; another rate's was.
        return data[:cut], buffer[other.start :] if was.codec is not other.kind.codec else data[cut:]

    @property
    def _other(self) -> Codec:
        return AAC if self.kind.codec is MP3 else MP3

    def _at_end(self, tail: bytes) -> Row | None:
        """The row of our own kind that `tail` ends with."""
        match = self.kind.codec.start.search(tail)
        while match is not None:
            row = _row(self.kind.codec, tail, match.start())
            if row is not None and row.kind == self.kind and row.frames > 1 and self._is_last(row, tail):
                return row
            match = self.kind.codec.start.search(tail, match.start() + 1)
        return None

    @staticmethod
    def _enough(row: Row) -> int:
        """Bytes that hold three whole frames, wherever they are cut."""
        return min(max(4 * (row.end - row.start) // row.frames, _LEAST_BYTES), _MOST_BYTES)

    @staticmethod
    def _is_last(row: Row, data: bytes) -> bool:
        return row.end > len(data) - _SIZE
