"""What every framer yields, and the unit of media time. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

FLICKS = 705_600_000
"""Flicks in a second: every usual audio rate, 90 kHz and all usual frame rates divide it (Facebook's "flicks")."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest stretch of media that the writer keeps whole: an audio frame, a TS or MP4 fragment."""

    data: bytes
    duration: int  # flicks
    is_cut: bool  # whether a file may begin here


class Framer(Protocol):
    """Cuts a byte stream into units; what it cannot understand it skips and counts."""

    dropped: int
    """Bytes skipped while looking for a frame."""

    @property
    def header(self) -> bytes:
        """Bytes that every file must begin with (fMP4's init segment, TS tables); empty where none are needed."""
        ...

    def feed(self, data: bytes) -> list[Unit]:
        """The units that `data` completes, in order."""
        ...

    def flush(self) -> list[Unit]:
        """The whole units that were still held back when the stream ended; a torn last frame is dropped."""
        ...
