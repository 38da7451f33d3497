"""Finding frames and media time in bytes. Pure: buffers in, units out, no I/O."""

from __future__ import annotations

from collections.abc import Callable

from streamrec.models import FileFormat
from streamrec.recorder.framing.adts import adts_framer
from streamrec.recorder.framing.fmp4 import Fmp4Framer
from streamrec.recorder.framing.mp3 import mp3_framer
from streamrec.recorder.framing.ts import TsFramer
from streamrec.recorder.framing.units import Framer

_FRAMERS: dict[FileFormat, Callable[[], Framer]] = {
    FileFormat.MP3: mp3_framer,
    FileFormat.AAC: adts_framer,
    FileFormat.TS: TsFramer,
    FileFormat.MP4: Fmp4Framer,
}


def framer_for(format: FileFormat) -> Framer:  # noqa: A002 - the word that the column and the fact use
    """A fresh framer for one run of this format."""
    return _FRAMERS[format]()
