"""A programme without end, made of frames that say their own number: nothing is encoded, stored or hashed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256

from tests.station.clips import MP3_FRAME_BYTES, MP3_FRAME_SECONDS

# MPEG-1 layer III, 48 kHz, mono; its side information says that no frame has any audio data, so decoders play
# silence and pass over the rest (ISO 11172-3, 2.4.1.7: ancillary data).
_HEADS = {128: b"\xff\xfb\x94\xc0" + bytes(17), 64: b"\xff\xfb\x54\xc0" + bytes(17)}
_HEAD_BYTES = 21
_NAME = re.compile(rb"(\d{5})\.(\d{10})\.")


@dataclass(frozen=True)
class Numbered:
    """The frames of one station; another number is another station, and shares no frame with it."""

    station: int
    kilobits: int = 128
    frame_seconds: float = MP3_FRAME_SECONDS
    media_type: str = "audio/mpeg"
    count: int = 1 << 31
    data: bytes = field(default=b"", repr=False)

    def frames(self, start: int, end: int) -> bytes:
        """The bytes of frames `[start, end)`."""
        return b"".join(self._frame(number) for number in range(max(0, start), end))

    looped = frames

    def number_of(self, frame: bytes) -> int | None:
        """Which frame these bytes are, to the last bit."""
        found = _NAME.match(frame, _HEAD_BYTES)
        if found is None or int(found[1]) != self.station:
            return None
        number = int(found[2])
        return number if self._frame(number) == frame else None

    def _frame(self, number: int) -> bytes:
        name = b"%05d.%010d." % (self.station, number)
        filler = sha256(name).hexdigest().encode() * 6
        return (_HEADS[self.kilobits] + name + filler)[: MP3_FRAME_BYTES * self.kilobits // 128]
