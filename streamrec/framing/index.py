"""Where the frames of a file of audio begin, without copying them. Pure."""

from __future__ import annotations

import mmap
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
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
    """Offsets of the frames and, last, the end of the file; the same of their `starts` in flicks."""

    offsets: Sequence[int]
    starts: Sequence[int]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def at(self, fraction: Fraction) -> int:
        """The first frame that begins at or after this fraction of the whole; how many there are if none does."""
        target = -(-fraction.numerator * self.starts[-1] // fraction.denominator)  # flicks, rounded up
        return bisect_left(self.starts, target)

    def share(self, number: int) -> float:
        """How much of the whole is before a frame."""
        return self.starts[number] / self.starts[-1]


def is_indexed(format: FileFormat) -> bool:  # noqa: A002 - the column's word
    """Whether files of this format are nothing but frames."""
    return format in _KINDS


def indexed(data: Buffer, format: FileFormat) -> Frames:  # noqa: A002
    """The frames of a whole file; bytes between them, which our own files do not have, go with the one before."""
    return (_of_constant_rate(data) if format is FileFormat.MP3 else _of_one_kind(data)) or _walked(data, format)


def _of_constant_rate(data: Buffer) -> Frames | None:
    """The frames of MP3 whose headers differ in the padding bit alone, if they fill the file: most radios'.

    An expression walks them in C, at a third of the price.
    """
    head = data[:3]
    frame = mp3.header(head) if len(head) == 3 and head[0] == 0xFF else None
    if frame is None:
        return None
    found = re.findall(b"(?s)" + mp3.frame_pattern(*head[1:]), data)
    offsets = list(accumulate(map(len, found), initial=0))
    if offsets[-1] != len(data):
        return None
    return Frames(offsets, range(0, (len(found) + 1) * frame.duration, frame.duration))


def _of_one_kind(data: Buffer) -> Frames | None:
    """The frames of ADTS whose headers differ in their lengths alone, if they fill the file."""
    frame = adts.header(data[:7]) if len(data) >= 7 and data[0] == 0xFF else None
    if frame is None:
        return None
    blocks, end = data[6] & 3, len(data)
    offsets = [0]
    position = frame.length
    while position < end:
        offsets.append(position)
        length = adts.length_of_kind(data[position : position + 7], frame.signature, blocks)
        if length == 0:
            return None
        position += length
    if position != end:
        return None
    return Frames([*offsets, end], range(0, (len(offsets) + 1) * frame.duration, frame.duration))


def _walked(data: Buffer, format: FileFormat) -> Frames:  # noqa: A002
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
    return Frames([*offsets, end if offsets else 0], list(accumulate(durations, initial=0)))
