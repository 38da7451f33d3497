"""Peaks of a range of time, from the peaks of the recordings in it. Pure.

The layout is audiowaveform's (github.com/bbc/audiowaveform, doc/DataFormat.md), version 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from streamrec.media.decoders import BINS_PER_SECOND
from streamrec.timeline import Span

SAMPLE_RATE: Final = 48_000  # the unit of time that the layout wants; not the recordings' own
_BITS: Final = 8
_SHIFT: Final = 1 << 7
_BIN: Final = timedelta(seconds=1) / BINS_PER_SECOND
_HEIGHT: Final = 256


@dataclass(frozen=True, slots=True)
class Part:
    """A recording's peaks: pairs of signed bytes, a pair each hundredth of a second from `start` on."""

    start: datetime
    peaks: bytes


@dataclass(frozen=True, slots=True)
class Waveform:
    """The lowest and the highest sample of each of the pixels of a range; 0, 0 where nothing was recorded."""

    samples_per_pixel: int
    pairs: Sequence[tuple[int, int]]

    def document(self) -> dict[str, Any]:
        """audiowaveform's JSON."""
        return {
            "version": 2,
            "channels": 1,
            "sample_rate": SAMPLE_RATE,
            "samples_per_pixel": self.samples_per_pixel,
            "bits": _BITS,
            "length": len(self.pairs),
            "data": [value for pair in self.pairs for value in pair],
        }

    def svg(self) -> str:
        """A picture of one unit a pixel in width and 256 in height; its colour is that of the text around it."""
        drawn = "".join(f"M{x} {_SHIFT - high}v{max(1, high - low)}" for x, (low, high) in enumerate(self.pairs))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-0.5 0 {len(self.pairs)} {_HEIGHT}" '
            f'preserveAspectRatio="none"><path d="{drawn}" stroke="currentColor" fill="none"/></svg>'
        )


def waveform(span: Span, pixels: int, parts: Iterable[Part]) -> Waveform:
    """The waveform of `span` in `pixels` pixels. Parts may reach beyond the span."""
    samples = -(-round((span.end - span.start).total_seconds() * SAMPLE_RATE) // pixels)
    width = timedelta(seconds=samples / SAMPLE_RATE)
    pairs = [(0, 0)] * pixels
    for part in parts:
        for index, low, high in _binned(part, span.start, width, pixels):
            pairs[index] = (min(pairs[index][0], low), max(pairs[index][1], high))
    return Waveform(samples, pairs)


def _binned(part: Part, start: datetime, width: timedelta, pixels: int) -> Iterable[tuple[int, int, int]]:
    """Pixel, lowest and highest of the part's bins that begin in it."""
    values = memoryview(part.peaks).cast("b")
    count = len(values) // 2
    offset = part.start - start
    first = max(0, _floor(offset, width))
    for index in range(first, pixels):
        low = max(0, _ceil(index * width - offset, _BIN))
        high = min(count, max(low + 1, _ceil((index + 1) * width - offset, _BIN)))
        if low >= count:
            return
        yield index, min(values[2 * low : 2 * high : 2]), max(values[2 * low + 1 : 2 * high : 2])


def _floor(time: timedelta, unit: timedelta) -> int:
    return time // unit


def _ceil(time: timedelta, unit: timedelta) -> int:
    return -(-time // unit)
