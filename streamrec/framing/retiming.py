"""Time stamps of a transport stream's packets: read, and moved. Pure.

ISO/IEC 13818-1: packets and adaptation fields in 2.4.3.2 and 2.4.3.4, PES packets in 2.4.3.6.
Clock references are left as they are: whoever multiplexes the stream anew makes its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from streamrec.framing.psi import PACKET, payload_of, pid_of

TICKS: Final = 90_000
"""In a second."""
_WRAP: Final = 1 << 33
PREFIX: Final = b"\x00\x00\x01"
PICTURES: Final = range(0xE0, 0xF0)
_SOUNDS: Final = frozenset({*range(0xC0, 0xE0), 0xBD, 0xFD})
_BEGINS: Final = bytes(bool(byte & 0x40) for byte in range(256))
"""By a packet's second byte: whether something begins in it."""


class Stamp(NamedTuple):
    """When a frame is shown and decoded, in ticks."""

    shown: int
    decoded: int
    is_picture: bool


def stamp(packet: bytes) -> Stamp | None:
    """The times of the PES packet that begins here; None if none does, or it bears none."""
    at = _header_at(packet, 0)
    if at is None:
        return None
    shown = _read(packet, at + 9)
    is_apart = packet[at + 7] >> 6 == 3 and at + 19 <= PACKET
    return Stamp(shown, _read(packet, at + 14) if is_apart else shown, packet[at + 3] in PICTURES)


def _header_at(data: bytes | bytearray, packet: int) -> int | None:
    """Where in `data` the PES header of the packet at `packet` begins, if it bears a time stamp."""
    if not data[packet + 1] & 0x40 or not data[packet + 3] & 0x10:
        return None
    at = packet + 4 + (1 + data[packet + 4] if data[packet + 3] & 0x20 else 0)
    if at + 14 > packet + PACKET or data[at : at + 3] != PREFIX or data[at + 7] < 0x80:
        return None
    return at if data[at + 3] in PICTURES or data[at + 3] in _SOUNDS else None


def _read(data: bytes | bytearray, at: int) -> int:
    a, b, c, d, e = data[at : at + 5]
    return (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1


def written(mark: int, ticks: int) -> bytes:
    """A time stamp as five bytes, behind the four bits that tell which it is."""
    ticks %= _WRAP
    return bytes(
        (mark << 4 | ticks >> 29 & 0xE | 1, ticks >> 22 & 0xFF, ticks >> 14 & 0xFE | 1, ticks >> 7 & 0xFF,
         ticks << 1 & 0xFE | 1)
    )  # fmt: skip


@dataclass(slots=True)
class Reach:
    """How far a stream has come, in ticks: its latest frame, and how long after the one before it is."""

    shown: int
    decoded: int
    is_picture: bool
    step: int = 0


class Retimer:
    """Moves time stamps by `shift` ticks, and says how far each stream, by its identifier, `reaches` then."""

    def __init__(self, shift: int, *, floor: int | None = None) -> None:
        """Sound that would stand before `floor` is left out, up to the first that does not."""
        self.reaches: dict[int, Reach] = {}
        self._shift = shift
        self._floor = floor
        self._silenced: set[int] = set()  # streams of which the latest frame is left out

    def moved(self, data: bytes) -> bytes:
        """The same packets at their new times; `data` is whole packets."""
        moved = bytearray(data)
        begins = moved[1::PACKET].translate(_BEGINS)
        early: set[int] = set()
        index = begins.find(1)
        while index >= 0:
            if self._is_early(moved, index * PACKET):
                early.add(index * PACKET)
            index = begins.find(1, index + 1)
        return self._without(moved, early) if early or self._silenced else bytes(moved)

    def _is_early(self, data: bytearray, packet: int) -> bool:
        """Set the stamps of the frame that begins here, if one does; whether it is to be left out."""
        at = _header_at(data, packet)
        if at is None:
            return False
        shown = decoded = _read(data, at + 9) + self._shift
        data[at + 9 : at + 14] = written(data[at + 9] >> 4, shown)
        if data[at + 7] >> 6 == 3 and at + 19 <= packet + PACKET:
            decoded = _read(data, at + 14) + self._shift
            data[at + 14 : at + 19] = written(1, decoded)
        is_picture = data[at + 3] in PICTURES
        pid = pid_of(bytes(data[packet : packet + 3]))
        reach = self.reaches.get(pid)
        if reach is not None:
            reach.step = decoded - reach.decoded
            reach.shown, reach.decoded = max(reach.shown, shown), decoded
        elif not is_picture and self._floor is not None and shown < self._floor:
            return True
        else:
            self.reaches[pid] = Reach(shown, decoded, is_picture)
        return False

    def _without(self, data: bytearray, early: set[int]) -> bytes:
        """The packets without those of the frames that begin at `early`."""
        kept: list[bytes] = []
        for at in range(0, len(data), PACKET):
            packet = bytes(data[at : at + PACKET])
            pid = pid_of(packet)
            if at in early:
                self._silenced.add(pid)
            elif packet[1] & 0x40:
                self._silenced.discard(pid)
            if pid not in self._silenced:
                kept.append(packet)
        return b"".join(kept)


class Elementary(NamedTuple):
    """What the PES packets of one stream contain, and when each is shown; `identifier` is their stream_id."""

    identifier: int
    frames: list[bytes]
    shown: list[int]  # ticks

    @property
    def is_picture(self) -> bool:
        return self.identifier in PICTURES


def elementary(data: bytes) -> dict[int, Elementary]:
    """The streams by their identifiers; the last frame of each may be torn."""
    found: dict[int, Elementary] = {}
    for at in range(0, len(data) - PACKET + 1, PACKET):
        packet = data[at : at + PACKET]
        pid, header = pid_of(packet), _header_at(packet, 0)
        if header is not None:
            each = found.setdefault(pid, Elementary(packet[header + 3], [], []))
            each.frames.append(packet[header + 9 + packet[header + 8] :])
            each.shown.append(_read(packet, header + 9))
        elif pid in found and not packet[1] & 0x40:
            found[pid].frames[-1] += payload_of(packet)
    return found
