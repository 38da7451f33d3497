"""What a body is, judged by its bytes and never by what the server calls it. Pure."""

from __future__ import annotations

import enum
import re
from typing import Final

from streamrec.recorder.sources import frames

ENOUGH_BYTES: Final = 49_152  # what has not shown itself by then is for ffmpeg to find out
_TEXT_BYTES: Final = 512
_TS_PACKET: Final = 188
_MEDIA: Final = re.compile(
    rb"OggS|fLaC|RIFF|FORM|FLV\x01|\x1aE\xdf\xa3|....(?:ftyp|styp|moov|moof|sidx)", re.DOTALL
)
_PLAYLIST: Final = re.compile(rb"#EXTM3U|\[playlist\]|https?://", re.IGNORECASE)
_MANIFEST: Final = re.compile(rb"(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,2000}?-->\s*)?<MPD\b", re.DOTALL)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


class Kind(enum.Enum):
    """What is to be done with a body."""

    FRAMES = "MP3 or ADTS, to be recorded as it comes"
    MEDIA = "something for ffmpeg to take apart"
    HLS = "an HLS playlist"
    PLAYLIST = "a list of stations' addresses"
    MANIFEST = "a DASH manifest"
    TEXT = "no media"


def kind_of(data: bytes, *, is_whole: bool) -> Kind | None:
    """What `data` begins; None if more is needed to tell. `is_whole`: no more will come."""
    text = data[:65_536].lstrip(b"\xef\xbb\xbf \t\r\n")
    if _PLAYLIST.match(text):
        return _playlist(text, is_whole or len(data) >= ENOUGH_BYTES)
    if _MANIFEST.match(text):
        return Kind.MANIFEST
    if _MEDIA.match(data) or _is_ts(data):
        return Kind.MEDIA
    if frames.recognised(data) is not None:
        return Kind.FRAMES
    if (is_whole or len(data) >= _TEXT_BYTES) and not _CONTROL.search(data[:_TEXT_BYTES]):
        return Kind.TEXT
    if is_whole or len(data) >= ENOUGH_BYTES:
        return Kind.MEDIA if data else Kind.TEXT
    return None


def _playlist(text: bytes, is_enough: bool) -> Kind | None:
    if b"#EXT-X-" in text:
        return Kind.HLS
    return Kind.PLAYLIST if is_enough else None


def _is_ts(data: bytes) -> bool:
    return len(data) > 2 * _TS_PACKET and data[0] == data[_TS_PACKET] == data[2 * _TS_PACKET] == 0x47
