"""What a unit is, whatever it was wrapped in: the same for every copy of the same media. Pure."""

from __future__ import annotations

from streamrec.framing.psi import PACKET, payload_of, pid_of, starts_payload
from streamrec.models import FileFormat

_PES_START = b"\x00\x00\x01"
_VIDEO_IDS = range(0xE0, 0xF0)


def essence(file_format: FileFormat, data: bytes) -> bytes:
    """The part of a unit's data that another multiplexer, or the same one started again, would not change.

    Audio frames are what they are. Of a transport stream it is the elementary stream of the picture, or of the
    sound where there is none, without packet headers, continuity counters, tables and time stamps
    (ISO/IEC 13818-1, 2.4.3); of a fragment the contents of its mdat.
    """
    if file_format is FileFormat.TS:
        return _elementary(data)
    if file_format is FileFormat.MP4:
        return _samples(data)
    return data


def _elementary(data: bytes) -> bytes:
    packets = [data[at : at + PACKET] for at in range(0, len(data) - PACKET + 1, PACKET)]
    master = _master(packets)
    parts = []
    for packet in packets:
        if pid_of(packet) == master:
            payload = payload_of(packet)
            is_head = starts_payload(packet) and payload[:3] == _PES_START and len(payload) > 8
            parts.append(payload[9 + payload[8] :] if is_head else payload)
    return b"".join(parts)


def _master(packets: list[bytes]) -> int:
    """The first stream of pictures, else the first of anything."""
    first = -1
    for packet in packets:
        if starts_payload(packet):
            payload = payload_of(packet)
            if payload[:3] == _PES_START and len(payload) > 3:
                if payload[3] in _VIDEO_IDS:
                    return pid_of(packet)
                first = pid_of(packet) if first < 0 else first
    return first


def _samples(data: bytes) -> bytes:
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"mdat":
            return data[at + 16 :] if size == 1 else data[at + 8 :]
        if size < 8:
            break
        at += size
    return data
