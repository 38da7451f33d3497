"""What a mount plays: a clip's bytes, cut into frames of equal duration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import md5
from itertools import accumulate
from pathlib import Path

from streamrec.framing import framer_for
from streamrec.framing.units import FLICKS
from streamrec.models import FileFormat
from tests.station.clips import MP3_FRAME_BYTES, MP3_FRAME_SECONDS

_MEDIA_TYPES = {".mp3": "audio/mpeg", ".aac": "audio/aac"}


@dataclass(frozen=True)
class Programme:
    """Frame n is `data[starts[n] : starts[n + 1]]`."""

    data: bytes
    starts: Sequence[int]
    frame_seconds: float
    media_type: str = "audio/mpeg"

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self.starts) - 1

    def frames(self, start: int, end: int) -> bytes:
        """The bytes of frames `[start, end)`, as far as there are such."""
        first, last = (min(max(0, number), self.count) for number in (start, end))
        return self.data[self.starts[first] : self.starts[max(first, last)]]

    @cached_property
    def index(self) -> dict[bytes, int]:
        """Which frame has which MD5."""
        index = {digest(self.frames(number, number + 1)): number for number in range(self.count)}
        assert len(index) == self.count, "the programme repeats a frame, so it proves nothing"
        return index

    def number_of(self, frame: bytes) -> int | None:
        """Which frame these bytes are, to the last bit."""
        return self.index.get(digest(frame))

    def looped(self, start: int, end: int) -> bytes:
        """The same, from the beginning again after the last."""
        return b"".join(self.frames(number % self.count, number % self.count + 1) for number in range(start, end))


def digest(frame: bytes) -> bytes:
    """What identifies a frame wherever it turns up again."""
    return md5(frame, usedforsecurity=False).digest()


@cache
def programme(path: Path) -> Programme:
    """The clip at `path`. What is neither MP3 nor ADTS is cut into 16,000 bytes a second."""
    data = path.read_bytes()
    if path.suffix not in _MEDIA_TYPES:
        pieces = -(-len(data) // MP3_FRAME_BYTES)
        starts = [min(number * MP3_FRAME_BYTES, len(data)) for number in range(pieces + 1)]
        return Programme(data, starts, MP3_FRAME_SECONDS)
    framer = framer_for(FileFormat(path.suffix[1:]))
    units = [*framer.feed(data), *framer.flush()]
    assert framer.dropped == 0, "a clip must be frames and nothing else"
    (duration,) = {unit.duration for unit in units}
    starts = list(accumulate((len(unit.data) for unit in units), initial=0))
    return Programme(data, starts, duration / FLICKS, _MEDIA_TYPES[path.suffix])
