"""Frames of our own as packets of a transport stream. Pure.

ISO/IEC 13818-1: packets and adaptation fields in 2.4.3.2 and 2.4.3.4, PES packets in 2.4.3.6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streamrec.framing.psi import PACKET
from streamrec.framing.retiming import PICTURES, PREFIX, written

_SYNC: Final = 0x47
_BEGINS: Final = 0x40  # payload_unit_start_indicator
_RANDOM_ACCESS, _DISCONTINUITY = b"\x40", b"\x80"
_HEAD: Final = 4  # bytes of a packet before its adaptation field


@dataclass(slots=True)
class Packetizer:
    """Writes the frames of one stream; `identifier` is the stream_id of its PES packets."""

    pid: int
    identifier: int
    _counter: int = 0

    def packed(self, frame: bytes, shown: int, decoded: int, *, is_key: bool = False) -> bytes:
        """A frame that is shown and decoded at these ticks of 90 kHz."""
        times = written(3, shown) + written(1, decoded)
        length = 3 + len(times) + len(frame)
        is_open = self.identifier in PICTURES or length > 0xFFFF
        head = PREFIX + bytes((self.identifier, *(0 if is_open else length).to_bytes(2, "big"), 0x80, 0xC0))
        payload = head + bytes((len(times),)) + times + frame
        return b"".join(self._packets(payload, _RANDOM_ACCESS if is_key else b""))

    def broken_off(self) -> bytes:
        """A packet that says that the counters before and behind it have nothing to do with each other."""
        self._counter = 0
        field = _field(_DISCONTINUITY, PACKET - _HEAD)
        return bytes((_SYNC, self.pid >> 8, self.pid & 0xFF, 0x2F)) + field  # the next one has the counter 0

    def _packets(self, payload: bytes, flags: bytes) -> Iterator[bytes]:
        at, mark = 0, _BEGINS
        while at < len(payload):
            room = PACKET - _HEAD - (2 if flags else 0)
            part = payload[at : at + room]
            field = _field(flags, PACKET - _HEAD - len(part))
            control = (0x30 if field else 0x10) | self._counter
            yield bytes((_SYNC, mark | self.pid >> 8, self.pid & 0xFF, control)) + field + part
            self._counter = (self._counter + 1) & 15
            at, mark, flags = at + len(part), 0, b""


def _field(flags: bytes, size: int) -> bytes:
    """An adaptation field of so many bytes, its own length among them."""
    if size <= 1:
        return bytes(size)
    return bytes((size - 1,)) + (flags or b"\0") + b"\xff" * (size - 2)
