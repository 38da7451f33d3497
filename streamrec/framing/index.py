"""Where the frames of a file of audio begin, without copying them. Pure."""

from __future__ import annotations

import mmap
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from streamrec.framing import adts, mp3
from streamrec.framing.frames import Frame
from streamrec.models import FileFormat

Buffer = bytes | mmap.mmap
Parse = Callable[[bytes], Frame | None]
_KINDS: dict[FileFormat, tuple[Parse, int, re.Pattern[bytes]]] = {
    FileFormat.MP3: (mp3.header, 3, mp3.START),
    FileFormat.AAC: (adts.header, 7, adts.START),
}


@dataclass(frozen=True, slots=True)
class Frames:
    """Offsets of the frames and, last, the end of the file; `durations` in flicks, one a frame."""

    offsets: list[int]
    durations: list[int]

    def __len__(self) -> int:
        return len(self.durations)

    def at(self, fraction: Fraction) -> int:
        """The first frame that begins at or after this fraction of the whole; how many there are if none does."""
        starts = list(accumulate(self.durations, initial=0))
        target = -(-fraction.numerator * starts[-1] // fraction.denominator)  # flicks, rounded up
        return bisect_left(starts, target)


def is_indexed(format: FileFormat) -> bool:  # noqa: A002 - the column's word
    """Whether files of this format are nothing but frames."""
    return format in _KINDS


def indexed(data: Buffer, format: FileFormat) -> Frames:  # noqa: A002
    """The frames of a whole file; bytes between them, which our own files do not have, go with the one before."""
    parse, size, start = _KINDS[format]
    offsets: list[int] = []
    durations: list[int] = []
    known: dict[bytes, Frame] = {}  # a radio has few different headers, and looking one up is a third of the price
    position, end = 0, len(data)
    while position <= end - size:
        head = data[position : position + size]
        frame = known.get(head)
        if frame is None:
            frame = parse(head) if head[0] == 0xFF else None
            if frame is None:
                found = start.search(data, position + 1)
                position = end if found is None else found.start()
                continue
            known[head] = frame
        if position + frame[0] > end:
            break
        offsets.append(position)
        durations.append(frame[1])
        position += frame[0]
    return Frames([*offsets, end if offsets else 0], durations)
