"""Silence in a radio's own coding: one frame that says nothing, as often as it takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

from streamrec.clips import converting, cutting
from streamrec.clips.plan import Source
from streamrec.errors import Unavailable
from streamrec.framing import adts, framer_for, mp3
from streamrec.framing.frames import Frame
from streamrec.framing.units import FLICKS
from streamrec.media.silence import silence_command
from streamrec.models import FileFormat

_HEAD_BYTES = 1 << 16
_AAC_BIT_RATE = 32_000


@dataclass(frozen=True, slots=True)
class SilentFrame:
    """A frame that decodes to silence beside its neighbours' coding."""

    data: bytes
    duration: int  # flicks

    def count(self, length: timedelta) -> int:
        """How many frames come nearest to a length."""
        microseconds = length // timedelta(microseconds=1)
        return max(0, round(microseconds * FLICKS / 1_000_000 / self.duration))


def silent_frame(executable: str, archive: cutting.Recordings, source: Source) -> SilentFrame:
    """A silent frame as the recording would have it.

    Raises:
        Unavailable: its coding is one that ffmpeg does not make, such as layer II.
    """
    with cutting.opened(archive, source) as file:
        head = os.pread(file, _HEAD_BYTES, 0)
    units = framer_for(source.format).feed(head)
    if not units:
        raise Unavailable("The recording's first frame cannot be read.")
    frame, rate, channels = _coding(units[0].data, source.format)
    bit_rate = _bit_rate(units[0].data, source.format)
    made = converting.output(
        silence_command(executable, source.format, rate=rate, channels=channels, bit_rate=bit_rate)
    )
    for unit in framer_for(source.format).feed(made)[4:]:  # an encoder's first frames hold other things
        found = _header(unit.data, source.format)
        if found is not None and found.signature == frame.signature:
            return SilentFrame(unit.data, unit.duration)
    raise Unavailable("Gaps of this channel's coding cannot be filled.")


def _bit_rate(data: bytes, format: FileFormat) -> int:  # noqa: A002
    """That of the frame beside it, because players tell an MP3's length by its first frame's bit rate."""
    return mp3.bit_rate(data) if format is FileFormat.MP3 else _AAC_BIT_RATE


def _header(data: bytes, format: FileFormat) -> Frame | None:  # noqa: A002 - the column's word
    return mp3.header(data[:3]) if format is FileFormat.MP3 else adts.header(data[:7])


def _coding(data: bytes, format: FileFormat) -> tuple[Frame, int, int]:  # noqa: A002
    """The header of a frame, its sample rate (Hz) and its number of channels."""
    frame = _header(data, format)
    assert frame is not None, "the framer found it"
    if format is FileFormat.MP3:
        samples = 1152 if frame.signature >> 4 == 3 else 576  # MPEG-1, or 2 and 2.5; layer III
        return frame, samples * FLICKS // frame.duration, 1 if data[3] >> 6 == 3 else 2
    blocks = (data[6] & 3) + 1
    return frame, 1024 * blocks * FLICKS // frame.duration, (data[2] & 1) << 2 | data[3] >> 6
