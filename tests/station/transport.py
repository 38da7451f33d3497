"""A transport stream multiplexer for media whose every frame has the same length: enough for a player and a proof.

ISO/IEC 13818-1: packets (2.4.3.2), adaptation fields (2.4.3.4), PES (2.4.3.6), tables (2.4.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

PACKET: Final = 188
TICKS: Final = 90_000  # a second
PICTURE_PID: Final = 0x100
SOUND_PID: Final = 0x101
H264: Final = 0x1B
AAC: Final = 0x0F
_TABLES_PID: Final = 0x1000
_NO_CLOCK: Final = 0x1FFF
_WRAP: Final = 1 << 33
_LEAD: Final = TICKS // 2  # by which the clock reference is earlier than what it is for


def tables(count: int, *streams: tuple[int, int]) -> bytes:
    """The `count`-th pair of tables: (type, PID) of each stream, the first with the clock if it is of pictures."""
    clock = streams[0][1] if streams[0][0] == H264 else _NO_CLOCK
    return _table(0, count, _programmes()) + _table(_TABLES_PID, count, _streams(clock, streams))


@cache
def _programmes() -> bytes:
    return _section(0, b"\x00\x01" + (0xE000 | _TABLES_PID).to_bytes(2, "big"))


@cache
def _streams(clock: int, streams: tuple[tuple[int, int], ...]) -> bytes:
    entries = (bytes([kind]) + (0xE000 | pid).to_bytes(2, "big") + b"\xf0\x00" for kind, pid in streams)
    return _section(2, (0xE000 | clock).to_bytes(2, "big") + b"\xf0\x00" + b"".join(entries))


def _section(table: int, body: bytes) -> bytes:
    head = bytes([table]) + (0xB000 | len(body) + 9).to_bytes(2, "big") + b"\x00\x01\xc1\x00\x00"
    return head + body + _crc(head + body)


def _crc(data: bytes) -> bytes:
    """CRC-32/MPEG-2."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value.to_bytes(4, "big")


def _table(pid: int, count: int, section: bytes) -> bytes:
    head = bytes([0x47, 0x40 | pid >> 8, pid & 255, 0x10 | count & 15])
    return (head + b"\0" + section).ljust(PACKET, b"\xff")


def packets_of(size: int, *, has_clock: bool) -> int:
    """How many packets an elementary frame of `size` bytes takes."""
    return -(-(size + 14 + (8 if has_clock else 0)) // (PACKET - 4))


def framed(
    pid: int, frame: bytes, ticks: int, first: int, *, has_clock: bool = False, is_key: bool = False
) -> bytes:
    """One frame in packets, of which the first is the stream's `first`-th. `has_clock` says it is a picture."""
    stamp = ticks % _WRAP
    stream_id = 0xE0 if has_clock else 0xC0
    head = b"\x00\x00\x01" + bytes([stream_id]) + (len(frame) + 8).to_bytes(2, "big") + b"\x80\x80\x05"
    payload = head + _stamp(stamp) + frame
    field = bytes([0x50 if is_key else 0x10]) + _clock((stamp - _LEAD) % _WRAP) if has_clock else b""
    return b"".join(_packets(pid, payload, field, first))


def _packets(pid: int, payload: bytes, field: bytes, count: int) -> Iterator[bytes]:
    start, at = 0x40, 0
    while at < len(payload):
        room = PACKET - 4 - (len(field) + 1 if field else 0)
        missing = room - (len(payload) - at)
        if missing > 0:  # the last packet is filled up by its adaptation field
            if field:
                field += bytes([255]) * missing
            else:
                field = (b"\0" + b"\xff" * (missing - 2)) if missing > 1 else b""
        has_field = bool(field) or missing == 1
        adaptation = bytes([len(field)]) + field if has_field else b""
        control = (0x30 if has_field else 0x10) | count & 15
        size = PACKET - 4 - len(adaptation)
        yield bytes([0x47, start | pid >> 8, pid & 255, control]) + adaptation + payload[at : at + size]
        at, start, field, count = at + size, 0, b"", count + 1


def _stamp(ticks: int) -> bytes:
    """A PTS alone."""
    high, middle, low = ticks >> 30 & 7, ticks >> 15 & 0x7FFF, ticks & 0x7FFF
    return bytes([0x21 | high << 1]) + (middle << 1 | 1).to_bytes(2, "big") + (low << 1 | 1).to_bytes(2, "big")


def _clock(ticks: int) -> bytes:
    """A PCR whose extension is 0."""
    return (ticks << 15 | 0x7E00).to_bytes(6, "big")


def elementary(data: bytes, pid: int) -> bytes:
    """What `framed` took, for one stream of a piece that begins and ends with whole packets."""
    parts = []
    for at in range(0, len(data), PACKET):
        packet = data[at : at + PACKET]
        if (packet[1] & 0x1F) << 8 | packet[2] == pid:
            start = 4 + (packet[4] + 1 if packet[3] & 0x20 else 0)
            head = 9 + packet[start + 8] if packet[1] & 0x40 else 0
            parts.append(packet[start + head :])
    return b"".join(parts)
