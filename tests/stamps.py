"""Transport streams with other time stamps than they had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from streamrec.framing import psi

TICKS: Final = 90_000  # a second

Change = Callable[[int, int], int]
"""Of the number of the latest picture and of a stamp: the stamp that is to be there."""


def restamped(data: bytes, change: Change) -> bytes:
    """The same stream with all decoding and presentation times changed (ISO 13818-1, 2.4.3.7)."""
    moved = bytearray(data)
    picture = -1
    for at in range(0, len(moved), psi.PACKET):
        packet = bytes(moved[at : at + psi.PACKET])
        payload = psi.payload_of(packet)
        if psi.starts_payload(packet) and payload[:3] == b"\0\0\1":
            picture += payload[3] >> 4 == 0xE  # a picture's stream
            begin = at + psi.PACKET - len(payload) + 9
            for index in range(payload[7] >> 6 & 1) if payload[7] >> 6 == 3 else ():
                _change(moved, begin + 5 * (index + 1), picture, change)
            _change(moved, begin, picture, change)
    return bytes(moved)


def _change(data: bytearray, at: int, picture: int, change: Change) -> None:
    a, b, c, d, e = data[at : at + 5]
    stamp = change(picture, (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1) % (1 << 33)
    parts = stamp >> 29 & 0xE, stamp >> 22 & 255, stamp >> 14 & 254 | 1, stamp >> 7 & 255, stamp << 1 & 254 | 1
    data[at : at + 5] = bytes([a & 0xF1 | parts[0], *parts[1:]])
