"""Black pictures and silence in a television's own coding, as packets that fit between what was recorded."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from streamrec.clips import converting
from streamrec.clips.stretch import Edge, Place, Stretch
from streamrec.errors import Unavailable
from streamrec.framing import adts
from streamrec.framing.packing import Packetizer
from streamrec.framing.retiming import TICKS, Elementary, elementary
from streamrec.framing.units import FLICKS
from streamrec.media.black import Look, Sound, black_command

_SETTLED: Final = 8  # frames after which an encoder's sound is nothing but silence
_LAYOUTS: Final = {1: "mono", 2: "stereo", 6: "5.1"}
_CODED = slice(2, 4)  # of an ADTS header: profile, rate and channels, with 0xFD 0xC0
_REFUSED: Final = "Gaps of this channel's coding cannot be filled."


@dataclass(slots=True)
class Strand:
    """Frames of one stream that are repeated for as long as it takes, `ticks` each."""

    writer: Packetizer
    frames: list[bytes]
    ticks: float

    def count(self, first: int, last: int) -> int:
        """How many come nearest to a length."""
        return max(0, round((last - first) / self.ticks))

    def between(self, first: Place, last: Place) -> Iterator[tuple[int, bytes]]:
        """When each is decoded, and its packets.

        They are shown at even distances from the one place to the other. They are decoded at even distances, too,
        because a coder with pictures out of order has them decoded long before they are shown.
        """
        count = self.count(first.shown, last.shown)
        yield first.decoded, self.writer.broken_off()
        for number in range(count):
            shown = first.shown + round(number * (last.shown - first.shown) / count)
            decoded = first.decoded + round((number + 1) * (last.decoded - first.decoded) / (count + 1))
            at = number % len(self.frames)
            yield decoded, self.writer.packed(self.frames[at], shown, min(shown, decoded), is_key=at == 0)


@dataclass(slots=True)
class Blank:
    """Black and silence of one coding; None of what it has not."""

    picture: Strand | None
    sound: Strand | None

    def count(self, first: int, last: int) -> int:
        """How many pictures come nearest to a length, or frames of sound where there is no picture."""
        strand = self.picture or self.sound
        return strand.count(first, last) if strand else 0

    def between(self, before: Edge | None, after: Edge | None, start: int, end: int) -> Iterator[bytes]:
        """Packets from where the one ends to where the other begins; `start` and `end` if there is none."""
        strands = [
            strand.between(*_places(strand, first, last, start, end))
            for strand, first, last in (
                (self.picture, before.picture if before else None, after.picture if after else None),
                (self.sound, before.sound if before else None, after.sound if after else None),
            )
            if strand is not None
        ]
        for _, packets in heapq.merge(*strands, key=lambda each: each[0]):
            yield packets


def _places(strand: Strand, first: Place | None, last: Place | None, start: int, end: int) -> tuple[Place, Place]:
    """Where to begin and to end; as long before or after what was recorded as it is decoded early."""
    shown = first.shown if first else start, last.shown if last else end
    length = round((strand.count(*shown) + 1) * strand.ticks)
    if first is None:
        decoded = (last.decoded if last else shown[1]) - length
        return Place(shown[0], decoded), last or Place(shown[1], decoded + length)
    return first, last or Place(shown[1], first.decoded + length)


# --- making them ------------------------------------------------------------------------------------------


def blank(executable: str, stretch: Stretch) -> Blank:
    """What fits beside a stretch.

    Raises:
        Unavailable: its coding is not understood, or is one that ffmpeg does not make.
    """
    look = _look(stretch)
    made = elementary(converting.output(black_command(executable, look)))
    picture = next((each for each in made.values() if each.is_picture), None)
    sound = next((each for each in made.values() if not each.is_picture), None)
    return Blank(
        _strand(stretch, picture, float(TICKS / look.picture.rate)) if picture and look.picture else None,
        _silent(stretch, sound) if sound else None,
    )


def _look(stretch: Stretch) -> Look:
    """What ffmpeg said of the stretch; of AAC what its frames say, because ffmpeg tells what they decode to."""
    look, video, audio = stretch.look, stretch.pid(is_picture=True), stretch.pid(is_picture=False)
    if (video is None) != (look.picture is None) or (audio is None) != (look.sound is None):
        raise Unavailable(_REFUSED)
    if look.sound is not None and look.sound.codec == "aac" and audio is not None:
        head = stretch.head(audio).frames[0][:7]
        frame = adts.header(head)
        layout = _LAYOUTS.get((head[2] & 1) << 2 | head[3] >> 6) if frame else None
        if frame is None or layout is None:
            raise Unavailable(_REFUSED)
        rate = 1024 * ((head[6] & 3) + 1) * FLICKS // frame.duration
        look = replace(look, sound=Sound("aac", rate, layout))
    return look


def _strand(stretch: Stretch, made: Elementary, ticks: float, at: slice = slice(None)) -> Strand:
    if made.shown != sorted(made.shown):
        raise Unavailable(_REFUSED)
    pid = stretch.pid(is_picture=made.is_picture)
    assert pid is not None, "it was made because the stretch has it"
    return Strand(Packetizer(pid, stretch.head(pid).identifier), made.frames[at], ticks)


def _silent(stretch: Stretch, made: Elementary) -> Strand:
    if len(made.frames) <= _SETTLED + 1:
        raise Unavailable(_REFUSED)
    ticks = (made.shown[-1] - made.shown[0]) / (len(made.shown) - 1)
    strand = _strand(stretch, made, ticks, slice(_SETTLED, _SETTLED + 1))
    if stretch.look.sound and stretch.look.sound.codec == "aac":
        recorded = stretch.head(strand.writer.pid).frames[0]
        if _coding(recorded) != _coding(strand.frames[0]):
            raise Unavailable(_REFUSED)
    return strand


def _coding(frame: bytes) -> tuple[int, int]:
    """Profile, rate and channels of an ADTS header."""
    return frame[2] & 0xFD, frame[3] & 0xC0
