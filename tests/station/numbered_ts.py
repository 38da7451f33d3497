"""Programmes of HLS whose frames say their own number: sound without end, and pictures with it.

The sound is silence and the picture one second over and over, so that players show them; the number stands where
players do not look: in a data element of each AAC frame (ISO/IEC 14496-3, 4.4.2.1), and in user data before each
picture (ISO/IEC 14496-10, D.1.7).
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Final

from tests.station import programs, transport

SOUND_BYTES: Final = 170  # 64 kb/s at 48 kHz
SOUND_TICKS: Final = 1920  # 1024 samples
PICTURE_BYTES: Final = 2000  # 400 kb/s at 25 a second
PICTURE_TICKS: Final = 3600
GOP: Final = 25
_SOUND_NAME: Final = re.compile(rb"(\d{5})([a-z])(\d{10})s")
_PICTURE_NAME: Final = re.compile(rb"(\d{5})([a-z])(\d{10})p")
_PICTURE_PACKETS: Final = transport.packets_of(PICTURE_BYTES, has_clock=True)
_UUID: Final = bytes(range(1, 17))


@dataclass(frozen=True)
class NumberedSound:
    """AAC of one station, for HLS and for a mount. Variants carry the same numbers and share no frame."""

    station: int
    media_type: str = "audio/aac"
    count: int = 1 << 31
    data: bytes = field(default=b"", repr=False)
    frame_seconds: float = SOUND_TICKS / transport.TICKS
    segment_frames: int = 47
    is_packed: bool = False
    """Whether its segments are ADTS behind a time stamp (RFC 8216 section 3.4), and not transport streams."""

    @property
    def suffix(self) -> str:
        """What the names of its segments end with."""
        return "aac" if self.is_packed else "ts"

    def frames(self, start: int, end: int) -> bytes:
        """The bytes of frames `[start, end)`, in ADTS."""
        return b"".join(sound(self.station, "h", number) for number in range(max(0, start), end))

    looped = frames

    def segment(self, number: int, variant: str, offset: int) -> bytes:
        """The `number`-th segment, whose time stamps are `offset` ticks later than its numbers say."""
        frames = range(number * self.segment_frames, (number + 1) * self.segment_frames)
        if self.is_packed:
            ticks = (frames.start * SOUND_TICKS + offset) % (1 << 33)
            return _timestamp_tag(ticks) + b"".join(sound(self.station, variant, frame) for frame in frames)
        head = transport.tables(number, (transport.AAC, transport.SOUND_PID))
        return head + b"".join(_sound_packet(self.station, variant, frame, offset) for frame in frames)

    def number_of(self, unit: bytes) -> int | None:
        """Which frame a unit of the archive is, to the last bit."""
        data = unit if unit[:1] == b"\xff" else transport.elementary(unit, transport.SOUND_PID)
        found = _SOUND_NAME.search(data)
        if found is None or int(found[1]) != self.station:
            return None
        number = int(found[3])
        return number if data == sound(self.station, found[2].decode(), number) else None


@dataclass(frozen=True)
class NumberedPictures:
    """H.264 and AAC of one station: a frame is a picture with the sound that begins during it."""

    station: int
    frame_seconds: float = PICTURE_TICKS / transport.TICKS
    segment_frames: int = GOP
    suffix: str = "ts"

    def segment(self, number: int, variant: str, offset: int) -> bytes:
        """The `number`-th segment, whose time stamps are `offset` ticks later than its numbers say."""
        streams = ((transport.H264, transport.PICTURE_PID), (transport.AAC, transport.SOUND_PID))
        frames = range(number * self.segment_frames, (number + 1) * self.segment_frames)
        parts = [transport.tables(number, *streams)]
        for frame in frames:
            parts.append(
                transport.framed(
                    transport.PICTURE_PID,
                    picture(self.station, variant, frame),
                    frame * PICTURE_TICKS + offset,
                    frame * _PICTURE_PACKETS,
                    has_clock=True,
                    is_key=frame % GOP == 0,
                )
            )
            parts += [_sound_packet(self.station, variant, each, offset) for each in _sounds_of(frame)]
        return b"".join(parts)

    def number_of(self, unit: bytes) -> int | None:
        """Which picture a unit of the archive is, to the last bit and with all of its sound."""
        data = transport.elementary(unit, transport.PICTURE_PID)
        found = _PICTURE_NAME.search(data)
        if found is None or int(found[1]) != self.station:
            return None
        variant, number = found[2].decode(), int(found[3])
        heard = b"".join(sound(self.station, variant, each) for each in _sounds_of(number))
        is_whole = data == picture(self.station, variant, number)
        return number if is_whole and transport.elementary(unit, transport.SOUND_PID) == heard else None


def sound(station: int, variant: str, number: int) -> bytes:
    """An ADTS frame of silence, behind a data element with its name."""
    name = b"%05d%c%010ds" % (station, ord(variant), number)
    size = SOUND_BYTES - 13
    data = (name + sha256(name).hexdigest().encode() * 3)[:size]
    head = (0xFFF14C40_00_1FFC | SOUND_BYTES << 13).to_bytes(7, "big")  # no CRC, LC, 48 kHz, one channel
    return head + bytes([0x81, size]) + data + b"\x00\x00\x00\x07"


def picture(station: int, variant: str, number: int) -> bytes:
    """An access unit: a delimiter, parameter sets before a key picture, the name, and the slices."""
    before, slices = _gop()[number % GOP]
    name = b"%05d%c%010dp" % (station, ord(variant), number)
    room = PICTURE_BYTES - len(before) - len(slices) - 7  # start code, type, kind, end
    payload = room - room // 256 - 1  # its size takes a byte for each 255, and one
    digits = sha256(name).hexdigest().encode()
    data = (name + digits * (payload // len(digits) + 1))[: payload - len(_UUID)]
    coded = b"\xff" * (payload // 255) + bytes([payload % 255])
    unit = b"\x00\x00\x00\x01\x06\x05" + coded + _UUID + data + b"\x80"
    return (before + unit + slices).ljust(PICTURE_BYTES, b"\0")  # Annex B ends so, if there is a byte too few


def _sounds_of(frame: int) -> range:
    """The AAC frames that begin while a picture is shown."""
    return range(-(-frame * PICTURE_TICKS // SOUND_TICKS), -(-(frame + 1) * PICTURE_TICKS // SOUND_TICKS))


def _sound_packet(station: int, variant: str, number: int, offset: int) -> bytes:
    data = sound(station, variant, number)
    return transport.framed(transport.SOUND_PID, data, number * SOUND_TICKS + offset, number)


def _timestamp_tag(ticks: int) -> bytes:
    """An ID3 tag with the time stamp of the first frame."""
    owner = b"com.apple.streaming.transportStreamTimestamp\0" + ticks.to_bytes(8, "big")
    frame = b"PRIV" + len(owner).to_bytes(4, "big") + b"\0\0" + owner
    return b"ID3\x04\x00\x00" + bytes([0, 0, 0, len(frame)]) + frame


@cache
def _gop() -> list[tuple[bytes, bytes]]:
    """A second of pictures: of each what stands before the user data, and what behind it."""
    source = "testsrc2=size=160x90:rate=25:duration=1"
    options = "-c:v libx264 -preset veryfast -crf 45 -g 25 -pix_fmt yuv420p -x264-params aud=1:bframes=0 -f h264 -"
    command = [programs.ffmpeg(), "-v", "error", "-nostdin", "-f", "lavfi", "-i", source, *options.split()]
    stream = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    units = [b"\x00\x00\x00\x01" + each for each in re.split(rb"\x00{2,3}\x01", stream) if each]
    found: list[tuple[bytes, bytes]] = []
    for unit in units:
        kind = unit[4] & 31
        if kind == 9:
            found.append((unit, b""))
        elif kind in {7, 8}:
            found[-1] = (found[-1][0] + unit, found[-1][1])
        elif kind in {1, 5}:
            found[-1] = (found[-1][0], found[-1][1] + unit)
    assert len(found) == GOP, f"{len(found)} pictures"
    assert max(len(before) + len(slices) for before, slices in found) < PICTURE_BYTES - 200
    return found
