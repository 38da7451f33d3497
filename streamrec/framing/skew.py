"""How much later the picture of a piece of a transport stream begins than its sound. Pure."""

from __future__ import annotations

from typing import Final

from streamrec.framing.psi import PACKET, pid_of, starts_payload

_WRAP: Final = 1 << 33
_PREFIX: Final = b"\x00\x00\x01"
TICKS: Final = 90_000
"""In a second."""


def picture_skew(data: bytes) -> int:
    """Ticks from the earliest first time stamp of any stream to the picture's; a piece begins with a packet.

    Players, ffmpeg among them, count from the earliest. 0 without a picture.
    """
    firsts: dict[int, tuple[bool, int]] = {}
    for at in range(0, len(data) - PACKET + 1, PACKET):
        packet = data[at : at + PACKET]
        if not starts_payload(packet) or (pid := pid_of(packet)) in firsts:
            continue
        found = _stamped(packet)
        if found is not None:
            firsts[pid] = found
    picture = next((time for is_picture, time in firsts.values() if is_picture), None)
    if picture is None:
        return 0
    return max((picture - time + _WRAP // 2) % _WRAP - _WRAP // 2 for _, time in firsts.values())


def _stamped(packet: bytes) -> tuple[bool, int] | None:
    """Whether it is picture, and the PTS of the PES packet that begins here (ISO/IEC 13818-1, 2.4.3.6)."""
    start = 4 if packet[3] & 0x30 == 0x10 else 5 + packet[4] if packet[3] & 0x30 == 0x30 else PACKET
    if start + 14 > PACKET or packet[start : start + 3] != _PREFIX or packet[start + 7] < 0x80:
        return None
    stream = packet[start + 3]
    is_picture = 0xE0 <= stream <= 0xEF
    if not (is_picture or 0xC0 <= stream <= 0xDF or stream == 0xBD):
        return None
    a, b, c, d, e = packet[start + 9 : start + 14]
    return is_picture, (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
