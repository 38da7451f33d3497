"""MPEG-1, 2 and 2.5 audio, layers I to III, cut into frames. Pure."""

from __future__ import annotations

import re
from functools import cache

from streamrec.framing.frames import Frame, FrameWalker
from streamrec.framing.units import FLICKS

_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # Hz by version
_V1_L1 = (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448)  # kbit/s
_V1_L2 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_V1_L3 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_V2_L1 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_V2_L23 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
START = re.compile(rb"\xff[\xe2-\xe7\xf2-\xff][\x10-\xef]")
_MPEG1, _RESERVED = 3, 1
_PADDING = 2  # the bit of a header's third byte
_LAYER_I, _LAYER_II, _LAYER_III = 3, 2, 1  # as the header codes them


def mp3_framer() -> FrameWalker:
    """A framer of MPEG audio frames; Xing and LAME frames are frames like any other."""
    return FrameWalker(header, stride, 3, START)


def header(head: bytes) -> Frame | None:
    return _frame(head[1], head[2])


def end_of(buffer: bytes, frames: int) -> int:
    """Where so many like frames end that the buffer begins with."""
    first = header(buffer)
    assert first is not None, "no frame"
    lengths = _lengths(first.signature)
    end = 0
    for _ in range(frames):
        end += lengths[buffer[end : end + 3]]
    return end


def bit_rate(head: bytes) -> int:
    """The bit/s that a frame's header tells."""
    return _bit_rates(head[1] >> 3 & 3, head[1] >> 1 & 3)[head[2] >> 4] * 1000


def stride(buffer: bytes, position: int, first: Frame) -> tuple[int, int]:
    """See Stride. This is done for every frame of every radio.

    Frames that differ in their padding alone are walked by an expression, at a third of the price; others by a
    table of all like headers.
    """
    lengths = _lengths(first.signature)
    position, count = _evenly(buffer, position)
    following = position + lengths[buffer[position : position + 3]]
    while (length := lengths.get(buffer[following : following + 3])) is not None:
        position, following = following, following + length
        count += 1
    return position, count


def _evenly(buffer: bytes, position: int) -> tuple[int, int]:
    """The same for frames whose headers differ in the padding bit alone."""
    expression, shortest = _even(buffer[position + 1], buffer[position + 2])
    found = expression.match(buffer, position)
    end = found.end() if found else position
    return end, (end - position) // shortest


@cache
def _even(second: int, third: int) -> tuple[re.Pattern[bytes], int]:
    """What finds frames of such headers that have one behind them, and the length of those that are not padded.

    It finds so many at most that their padding does not add up to another frame.
    """
    (plain, shortest), (padded, longest) = _padded_or_not(second, third)
    most = (shortest - 1) // (longest - shortest)
    row = b"(?s)(?:%b(?=%b|%b)){0,%d}+" % (frame_pattern(second, third), plain, padded, most)
    return re.compile(row), shortest


def frame_pattern(second: int, third: int) -> bytes:
    """An expression for a frame with these two bytes in its header, padded or not; the dot must fit all bytes.

    They must be of a header.
    """
    return b"(?:%b)" % b"|".join(b"%b.{%d}" % (head, size - 3) for head, size in _padded_or_not(second, third))


def _padded_or_not(second: int, third: int) -> list[tuple[bytes, int]]:
    """The header without and with padding, escaped, and the lengths of their frames."""
    kinds = third & ~_PADDING, third | _PADDING
    return [
        (re.escape(bytes((0xFF, second, kind))), frame.length) for kind in kinds if (frame := _frame(second, kind))
    ]


@cache
def _lengths(signature: int) -> dict[bytes, int]:
    """The lengths of frames by the first three bytes of their headers; there are some dozens of them."""
    heads = [(second, third) for second in range(0xE0, 0x100) for third in range(0x100)]
    frames = {bytes((0xFF, *head)): _frame(*head) for head in heads}
    return {head: frame.length for head, frame in frames.items() if frame and frame.signature == signature}


@cache
def _frame(second: int, third: int) -> Frame | None:
    """What the second and third byte of a header say; the fourth says nothing of length or time.

    ISO/IEC 11172-3 section 2.4.1.3 and 13818-3 section 2.4.1.3. Free format (bit rate 0) is refused: its length
    is not in the header.
    """
    version, layer = second >> 3 & 3, second >> 1 & 3
    bit_rate, sample_rate, padding = third >> 4, third >> 2 & 3, third >> 1 & 1
    if second < 0xE0 or version == _RESERVED or layer == 0 or bit_rate in (0, 15) or sample_rate == 3:
        return None
    rate = _RATES[version][sample_rate]
    bits = _bit_rates(version, layer)[bit_rate] * 1000
    samples = _samples(version, layer)
    slot = 4 if layer == _LAYER_I else 1  # bytes
    length = (samples // 8 * bits // rate // slot + padding) * slot
    return Frame(length, samples * FLICKS // rate, version << 4 | layer << 2 | sample_rate)


def _bit_rates(version: int, layer: int) -> tuple[int, ...]:
    if version == _MPEG1:
        return {_LAYER_I: _V1_L1, _LAYER_II: _V1_L2, _LAYER_III: _V1_L3}[layer]
    return _V2_L1 if layer == _LAYER_I else _V2_L23


def _samples(version: int, layer: int) -> int:
    """Samples in a frame: 384 in layer I, 1152 in the others, but 576 in layer III of MPEG-2 and 2.5."""
    if layer == _LAYER_I:
        return 384
    return 1152 if layer == _LAYER_II or version == _MPEG1 else 576
