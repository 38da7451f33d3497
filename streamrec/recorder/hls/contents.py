"""What a segment is and which codecs are in it, by its own bytes. Pure.

ISO/IEC 13818-1 table 2-34 (stream types), ETSI EN 300 468 section 6.1 (descriptors), ISO/IEC 14496-12 section
8.5.2 (sample descriptions), RFC 8216 section 3.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streamrec.framing import boxes
from streamrec.framing.psi import PACKET, Tables, payload_of, pid_of, starts_payload
from streamrec.models import FileFormat, GapReason
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.sources import frames

_SEARCHED: Final = 1 << 20  # bytes in which a segment's tables must stand
_SYNC: Final = 0x47
_TYPES: Final = {
    0x01: "mpeg1video", 0x02: "mpeg2video", 0x1B: "h264", 0x24: "hevc", 0x10: "mpeg4", 0x33: "vvc",
    0x03: "mp2", 0x04: "mp2", 0x0F: "aac", 0x11: "aac_latm", 0x81: "ac3", 0x87: "eac3", 0x82: "dts",
}  # fmt: skip
_VIDEO: Final = frozenset({"mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc", "vvc", "av1", "vp9"})
_PRIVATE: Final = 0x06
_DESCRIPTORS: Final = {0x6A: "ac3", 0x7A: "eac3", 0x7B: "dts", 0x7C: "aac"}
_MPEG_AUDIO: Final = frozenset({0x03, 0x04})
_ENTRIES: Final = {
    b"avc1": "h264", b"avc3": "h264", b"hvc1": "hevc", b"hev1": "hevc", b"dvh1": "hevc", b"dvhe": "hevc",
    b"av01": "av1", b"vp09": "vp9", b"mp4v": "mpeg4", b"mp4a": "aac", b"ac-3": "ac3", b"ec-3": "eac3",
    b"Opus": "opus", b"fLaC": "flac", b"alac": "alac", b".mp3": "mp3",
}  # fmt: skip
_ENCRYPTED: Final = frozenset({b"encv", b"enca"})
_BOXES: Final = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"emsg", b"prft", b"free"})


class Contents(NamedTuple):
    """What a segment is."""

    format: FileFormat
    codecs: str  # ffmpeg's names, video first: "h264+aac"
    has_video: bool
    has_audio: bool


def contents(data: bytes, init: bytes) -> Contents:
    """What a segment is that comes after `init`.

    Raises Refused: `not_media`, or `unsupported` for what is media and is not kept.
    """
    if init or data[4:8] in _BOXES:
        return _fragments(init or data)
    if len(data) >= PACKET and all(data[at] == _SYNC for at in range(0, min(len(data), 3 * PACKET), PACKET)):
        return _transport(data)
    row = frames.recognised(data[:_SEARCHED])
    if row is not None:
        codec = row.kind.codec
        return Contents(codec.format, codec.name, has_video=False, has_audio=True)
    if data.startswith(b"WEBVTT"):
        raise Refused(GapReason.UNSUPPORTED, "The playlist lists subtitles, not sound or pictures.")
    raise Refused(GapReason.NOT_MEDIA, "The playlist's segments are not media that is understood.")


def _of(file_format: FileFormat, names: list[str]) -> Contents:
    video = next((name for name in names if name in _VIDEO), None)
    audio = next((name for name in names if name not in _VIDEO), None)
    if video is None and audio is None:
        raise Refused(GapReason.UNSUPPORTED, "There is no sound and no picture in it that could be kept.")
    return Contents(file_format, "+".join(filter(None, (video, audio))), video is not None, audio is not None)


def _transport(data: bytes) -> Contents:
    tables = Tables()
    for at in range(0, min(len(data), _SEARCHED) - PACKET + 1, PACKET):
        packet = data[at : at + PACKET]
        if tables.is_table(pid_of(packet)):
            tables.take(pid_of(packet), packet)
            if tables.streams:
                break
    if tables.master_pid < 0:
        raise Refused(GapReason.NOT_MEDIA, "The playlist's segments name no streams.")
    return _of(FileFormat.TS, [name for stream in tables.streams if (name := _name(data, *stream))])


def _name(data: bytes, pid: int, stream_type: int, descriptors: bytes) -> str | None:
    if stream_type == _PRIVATE:
        at = 0
        while at + 2 <= len(descriptors):
            if descriptors[at] in _DESCRIPTORS:
                return _DESCRIPTORS[descriptors[at]]
            at += 2 + descriptors[at + 1]
        return None
    if stream_type in _MPEG_AUDIO and _is_layer_three(data, pid):
        return "mp3"
    return _TYPES.get(stream_type)


def _is_layer_three(data: bytes, pid: int) -> bool:
    """Both layers have one stream type; a frame header tells them apart (ISO/IEC 11172-3 section 2.4.2.3)."""
    for at in range(0, min(len(data), _SEARCHED) - PACKET + 1, PACKET):
        packet = data[at : at + PACKET]
        if pid_of(packet) == pid and starts_payload(packet):
            payload = payload_of(packet)
            head = payload[9 + payload[8] :][:2] if len(payload) > 9 else b""
            return len(head) == 2 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2
    return False


def _fragments(init: bytes) -> Contents:
    try:
        entries = boxes.sample_entries(init)
    except ValueError:
        raise Refused(GapReason.NOT_MEDIA, "The stream's header is damaged.") from None
    if any(entry in _ENCRYPTED for entry in entries):
        raise Refused(GapReason.DRM, "The stream is protected (DRM) and cannot be recorded.")
    return _of(FileFormat.MP4, [name for entry in entries if (name := _ENTRIES.get(entry))])
