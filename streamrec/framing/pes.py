"""Packetized elementary streams: their time stamps, key pictures and ends. Pure.

ISO/IEC 13818-1 sections 2.4.3.5 (adaptation field) and 2.4.3.6 (PES packet).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from streamrec.framing.psi import (
    H264,
    HEVC,
    MPEG1_VIDEO,
    MPEG2_VIDEO,
    PACKET,
    payload_of,
    pid_of,
    starts_payload,
)

_PREFIX = b"\x00\x00\x01"
_SCANNED = 1 << 16  # bytes of a picture that are searched for what makes it a key picture
_KEY = {
    H264: re.compile(rb"\x00\x00\x01[\x05\x07\x25\x27\x45\x47\x65\x67]"),  # IDR slice or SPS
    HEVC: re.compile(rb"\x00\x00\x01[\x20-\x2b\x40-\x43]"),  # IRAP slices, VPS, SPS
    MPEG1_VIDEO: re.compile(rb"\x00\x00\x01\xb3"),  # sequence header
    MPEG2_VIDEO: re.compile(rb"\x00\x00\x01\xb3"),
}


def is_random_access(packet: bytes) -> bool:
    """Whether the adaptation field says that a decoder may begin here."""
    return bool(packet[3] & 0x20 and packet[4] and packet[5] & 0x40)


def decoding_time(packet: bytes) -> int | None:
    """The DTS, or the PTS where it stands for both, of the PES packet that begins here; 90 kHz, 33 bits."""
    start = 4 if packet[3] & 0x30 == 0x10 else 5 + packet[4] if packet[3] & 0x30 == 0x30 else PACKET
    if start + 9 > len(packet) or packet[start : start + 3] != _PREFIX:
        return None
    at = start + (9 if packet[start + 7] >> 6 == 2 else 14)
    if packet[start + 7] < 0x80 or at + 5 > len(packet):
        return None
    a, b, c, d, e = packet[at : at + 5]
    return (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1


def is_key_picture(packets: bytes, pid: int, stream_type: int) -> bool:
    """Whether the elementary stream itself says so, for multiplexers that do not.

    Kinds of video that are not searched are taken to begin anywhere.
    """
    pattern = _KEY.get(stream_type)
    if pattern is None:
        return True
    payload = b""
    for at in range(0, len(packets), PACKET):
        packet = packets[at : at + PACKET]
        if pid_of(packet) == pid:
            payload += payload_of(packet)
        if len(payload) > _SCANNED:
            break
    return pattern.search(payload) is not None


@dataclass(slots=True)
class _Pes:
    """One PES packet as far as it has come."""

    begins_at: int
    awaited: int | None  # payload bytes; None if it does not say
    is_stuffed: bool = False

    @property
    def is_whole(self) -> bool:
        return self.is_stuffed if self.awaited is None else self.awaited <= 0


def whole_length(packets: bytes) -> int:
    """How many bytes there are before the first PES packet that is torn at the end.

    A picture may leave its length open. It is over when a transport packet was filled up behind it.
    """
    last: dict[int, _Pes] = {}
    for at in range(0, len(packets), PACKET):
        packet = packets[at : at + PACKET]
        pid, payload = pid_of(packet), payload_of(packet)
        if starts_payload(packet) and payload[:3] == _PREFIX and len(payload) >= 6:
            length = int.from_bytes(payload[4:6], "big")
            last[pid] = _Pes(at, length + 6 if length else None)
        pes = last.get(pid)
        if pes is not None:
            pes.is_stuffed = _is_stuffed(packet)
            if pes.awaited is not None:
                pes.awaited -= len(payload)
    return min((pes.begins_at for pes in last.values() if not pes.is_whole), default=len(packets))


def _is_stuffed(packet: bytes) -> bool:
    """Whether the adaptation field is longer than what its flags announce."""
    if not packet[3] & 0x20:
        return False
    length = packet[4]
    if length == 0:
        return True
    flags = packet[5]
    return length > 1 + (6 if flags & 0x10 else 0) + (6 if flags & 0x08 else 0) + (1 if flags & 0x04 else 0)
