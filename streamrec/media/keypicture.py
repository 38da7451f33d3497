"""The first key picture of a transport stream, decoded without asking what else is in it.

libavformat reads a quarter of a megabyte to learn what a stream is, which takes longer than to decode its picture.
Our own files begin with the tables and a key picture. What is not as expected is left to libavformat.
Runs in a child of `decoders`, because what it decodes is hostile.
"""

from __future__ import annotations

import io
from typing import Any, Final

import av
from av.error import FFmpegError

from streamrec.framing.essence import essence
from streamrec.framing.psi import H264, HEVC, MPEG1_VIDEO, MPEG2_VIDEO, PACKET, Tables, pid_of
from streamrec.framing.ts import TsFramer
from streamrec.framing.units import Unit
from streamrec.models import FileFormat

_DECODERS: Final = {H264: "h264", HEVC: "hevc", MPEG1_VIDEO: "mpeg1video", MPEG2_VIDEO: "mpeg2video"}
_STEP_BYTES: Final = 64 << 10
_MOST_BYTES: Final = 8 << 20  # of one picture, and what stands before it


def first_picture(file: io.RawIOBase, most_pixels: int) -> Any | None:
    """The frame, or None if it is not there, not whole, larger than `most_pixels`, or of an unknown kind."""
    unit = _first_unit(file)
    name = None if unit is None else _DECODERS.get(_kind(unit))
    if unit is None or name is None:
        return None
    context: Any = av.CodecContext.create(name, "r")
    context.thread_type = "NONE"
    context.options = {"max_pixels": str(most_pixels)}
    try:
        frames = [*context.decode(av.Packet(essence(FileFormat.TS, unit.data))), *context.decode(None)]
    except FFmpegError:
        return None
    return frames[0] if len(frames) == 1 and not frames[0].is_corrupt else None


def _first_unit(file: io.RawIOBase) -> Unit | None:
    framer, taken = TsFramer(), 0
    while taken < _MOST_BYTES and (data := file.read(_STEP_BYTES)):
        taken += len(data)
        units = framer.feed(data)
        if units:
            return units[0]
    return next(iter(framer.flush()), None)


def _kind(unit: Unit) -> int:
    """The type of the video stream, by the tables before or in the unit; 0 without video."""
    tables, data = Tables(), unit.header + unit.data
    for at in range(0, len(data) - PACKET + 1, PACKET):
        packet = data[at : at + PACKET]
        if tables.is_table(pid_of(packet)):
            tables.take(pid_of(packet), packet)
        if tables.master_type:
            break
    return tables.master_type if tables.is_video else 0
