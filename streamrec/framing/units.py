"""What every framer yields, and the unit of media time. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple, Protocol

FLICKS = 705_600_000
"""Flicks in a second: every usual audio rate, 90 kHz and all usual frame rates divide it (Facebook's "flicks")."""


def flicks(length: timedelta) -> int:
    """A length as media time, to the microsecond."""
    return length // timedelta(microseconds=1) * FLICKS // 1_000_000


class Unit(NamedTuple):
    """The smallest stretch of media that the writer keeps whole: an audio frame, a TS or MP4 fragment.

    Or `frames` audio frames, each of which is one: `framing.split` has them singly.
    A tuple, because a busy recorder makes tens of thousands of them a second.
    """

    data: bytes
    duration: int  # flicks
    is_cut: bool  # whether a file may begin here
    header: bytes = b""  # what a file that begins here has before `data`: MP4's init segment, TS tables
    skipped: int = 0  # flicks that the stream's own timestamps leave out just before this unit
    frames: int = 1  # how many of them


class Framer(Protocol):
    """Cuts a byte stream into units; what it cannot understand it skips and counts.

    The first unit of all is a cut, unless the framer was told to await none. The data of all units, in order, is
    the input less the dropped bytes and less MP4's header boxes; the sum of their durations is the media time.
    What `skipped` tells is in no duration.
    """

    dropped: int
    """Bytes skipped so far that belong to no frame."""
    gathers: bool
    """Set it, and like frames that follow each other may come as one unit."""

    def feed(self, data: bytes) -> list[Unit]:
        """The units that `data` completes, in order. Raises nothing, whatever the bytes are."""
        ...

    def flush(self) -> list[Unit]:
        """The whole units that were still held back when the stream ended; a torn last frame is dropped."""
        ...
