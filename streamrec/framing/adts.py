"""AAC in ADTS, cut into frames. Pure."""

from __future__ import annotations

import re

from streamrec.framing.frames import Frame, FrameWalker
from streamrec.framing.units import FLICKS

_RATES = (
    96_000,
    88_200,
    64_000,
    48_000,
    44_100,
    32_000,
    24_000,
    22_050,
    16_000,
    12_000,
    11_025,
    8_000,
    7_350,
)  # Hz
START = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")
_SAMPLES = 1024
_BLOCK = tuple(_SAMPLES * FLICKS // rate for rate in _RATES)
_SHORTEST = 7
_LONGEST_HEAD = 9
_FIXED = 0xFFFFFDC  # of the first 28 bits, all that a decoder needs: not private, original and home


def adts_framer() -> FrameWalker:
    """A framer of ADTS frames. HE-AAC shows its core here: half the rate, and the right time."""
    return FrameWalker(header, stride, 7, START)


def stride(buffer: bytes, position: int, first: Frame) -> tuple[int, int]:
    """See Stride; it ends where a frame has another number of blocks."""
    blocks = buffer[position + 6] & 3
    count = 0
    following = position + first.length
    while True:
        head = int.from_bytes(buffer[following : following + 7], "big")
        length = head >> 13 & 0x1FFF
        if head >> 28 & _FIXED != first.signature or length < _LONGEST_HEAD or head & 3 != blocks:
            return position, count
        position, following = following, following + length
        count += 1


def length_of_kind(head: bytes, signature: int, blocks: int) -> int:
    """The length of a frame of a kind, `blocks` being their number less one; 0 if these bytes are none."""
    bits = int.from_bytes(head, "big")
    length = bits >> 13 & 0x1FFF
    return 0 if bits >> 28 & _FIXED != signature or length < _LONGEST_HEAD or bits & 3 != blocks else length


def end_of(buffer: bytes, frames: int) -> int:
    """Where so many frames end that the buffer begins with."""
    end = 0
    for _ in range(frames):
        end += int.from_bytes(buffer[end + 3 : end + 6], "big") >> 5 & 0x1FFF
    return end


def header(head: bytes) -> Frame | None:
    """What the fixed and the variable header say: ISO/IEC 13818-7 section 6.2, 14496-3 section 1.A.2.2.

    Sync word (12 bits), id, layer (always 0), no-CRC flag, profile (2), rate index (4), private bit, channels (3),
    original, home; copyright (2), length (13), buffer fullness (11), blocks less one (2).
    """
    fixed = int.from_bytes(head[:4], "big") >> 4
    rate = fixed >> 6 & 15
    if fixed & 0xFFF6000 != 0xFFF0000 or rate >= len(_RATES):
        return None
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if length < _SHORTEST + (0 if head[1] & 1 else 2):
        return None
    return Frame(length, _BLOCK[rate] * ((head[6] & 3) + 1), fixed & _FIXED)
