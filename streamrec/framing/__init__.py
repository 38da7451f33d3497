"""Finding frames and media time in bytes. Pure: buffers in, units out, no I/O."""

from __future__ import annotations

from collections.abc import Callable

from streamrec.framing import adts, mp3
from streamrec.framing.adts import adts_framer
from streamrec.framing.fmp4 import Fmp4Framer
from streamrec.framing.mp3 import mp3_framer
from streamrec.framing.ts import TsFramer
from streamrec.framing.units import Framer, Unit
from streamrec.models import FileFormat

_AUDIO: dict[FileFormat, Callable[[], Framer]] = {FileFormat.MP3: mp3_framer, FileFormat.AAC: adts_framer}
_PICTURES: dict[FileFormat, Callable[[bool], Framer]] = {FileFormat.TS: TsFramer, FileFormat.MP4: Fmp4Framer}
_ENDS: dict[FileFormat, Callable[[bytes, int], int]] = {FileFormat.MP3: mp3.end_of, FileFormat.AAC: adts.end_of}


def framer_for(format: FileFormat, *, awaits_cut: bool = True) -> Framer:  # noqa: A002 - the column's word
    """A fresh framer for one run of this format.

    `awaits_cut` drops what comes before the first cut, which no player could show. A file that goes on where
    another one ended may begin with such units, and is read without.
    """
    return _PICTURES[format](awaits_cut) if format in _PICTURES else _AUDIO[format]()


def split(format: FileFormat, unit: Unit) -> list[Unit]:  # noqa: A002 - the column's word
    """The frames that were gathered in a unit, each as one; any other unit as it is."""
    if unit.frames == 1:
        return [unit]
    framer = framer_for(format)
    return [*framer.feed(unit.data), *framer.flush()]


def parted(format: FileFormat, unit: Unit, frames: int) -> list[Unit]:  # noqa: A002 - the column's word
    """The first `frames` of those gathered in a unit, as one, and the rest; pictures, which differ, each as one.

    Costs a tenth of what `split` does. `frames` is at least 1, and less than there are.
    """
    if format in _PICTURES:
        return split(format, unit)
    at = _ENDS[format](unit.data, frames)
    duration = unit.duration // unit.frames * frames
    return [
        Unit(unit.data[:at], duration, unit.is_cut, frames=frames),
        Unit(unit.data[at:], unit.duration - duration, unit.is_cut, frames=unit.frames - frames),
    ]
