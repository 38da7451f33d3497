"""What a playlist says, read by the m3u8 library and bounded; RFC 8216 sections 4.3 and 4.4. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import m3u8

from streamrec.models import GapReason
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.hls import plain

MOST_BYTES: Final = 1 << 20
MOST_LINES: Final = 5_000
MOST_VARIANTS: Final = 64
LONGEST: Final = 60.0  # s; no live segment lasts longer
LARGEST_NUMBER: Final = 1 << 63
_UNREADABLE: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
_KEY_FORMATS: Final = frozenset({None, "", "identity"})
_TIME: Final = re.compile(r"^#EXT-X-PROGRAM-DATE-TIME:.*$", re.MULTILINE)


class Part(NamedTuple):
    """A resource, or a range of its bytes."""

    uri: str  # as it was written: hostile, and may be relative
    start: int = 0
    length: int | None = None  # bytes; None: all of it


@dataclass(frozen=True, slots=True)
class Key:
    """How a segment is encrypted with AES-128-CBC."""

    uri: str
    iv: bytes  # 16


class Segment(NamedTuple):
    """One entry of a media playlist."""

    sequence: int
    discontinuities: int  # discontinuity sequence number
    media: Part
    duration: float  # s
    init: Part | None
    key: Key | None
    is_gap: bool
    said_at: datetime | None  # EXT-X-PROGRAM-DATE-TIME, to be trusted in nothing but differences

    @property
    def name(self) -> str:
        """What stays of its address while tokens and hosts change, with the range of bytes."""
        path = self.media.uri.partition("?")[0].partition("#")[0]
        return f"{path.rpartition('/')[2]}@{self.media.start}"


@dataclass(frozen=True, slots=True)
class Media:
    """A media playlist."""

    target: float  # s; the longest that a segment may last
    segments: tuple[Segment, ...]
    is_over: bool  # EXT-X-ENDLIST
    is_on_demand: bool


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to get the whole presentation."""

    uri: str
    bandwidth: int  # bit/s
    codecs: str  # RFC 6381, "" if not told
    sound_uri: str | None  # of the rendition that has the sound, if that is another playlist


@dataclass(frozen=True, slots=True)
class Master:
    """A multivariant playlist."""

    variants: tuple[Variant, ...]


def parse(data: bytes) -> Media | Master:
    """Raises Refused: `not_media`, `drm`, or `source_error` for what is out of bounds."""
    if data.count(b"\n") >= MOST_LINES or len(data) > MOST_BYTES:
        raise Refused(GapReason.SOURCE_ERROR, "The playlist is too long.")
    text = data.decode("utf-8-sig", "replace")
    if not text.lstrip().startswith("#EXTM3U"):
        raise Refused(GapReason.NOT_MEDIA, "What the server sends is not an HLS playlist.")
    listed = plain.read(text)
    if listed is not None:
        return _plain_media(listed)
    try:
        return _read(text)
    except _UNREADABLE:
        pass
    try:
        return _read(_TIME.sub("", text))  # a clock that says nonsense is no reason not to record
    except _UNREADABLE:
        raise Refused(GapReason.NOT_MEDIA, "The playlist contradicts itself.") from None


def _read(text: str) -> Media | Master:
    read = m3u8.loads(text)
    return _master(read) if read.is_variant else _media(read)


def _master(read: Any) -> Master:
    if len(read.playlists) > MOST_VARIANTS:
        raise Refused(GapReason.SOURCE_ERROR, "The playlist has too many variants.")
    if any(_is_drm(key) for key in read.session_keys):
        raise _drm()
    return Master(tuple(_variant(each, read.media) for each in read.playlists if each.uri))


def _variant(listed: Any, renditions: Any) -> Variant:
    info = listed.stream_info
    group = [each for each in renditions if each.type == "AUDIO" and each.group_id == info.audio]
    group.sort(key=lambda each: (each.default != "YES", each.autoselect != "YES"))
    sound = group[0].uri if info.audio and group else None
    return Variant(
        listed.uri, int(info.bandwidth or 0), info.codecs or "", sound if sound and sound != listed.uri else None
    )


def _plain_media(listed: plain.Listed) -> Media:
    discontinuities = listed.discontinuities
    segments: list[Segment] = []
    for sequence, entry in enumerate(listed.entries, listed.sequence):
        discontinuities += entry.is_discontinuous
        part, seconds = Part(entry.uri), _duration(entry.seconds)
        segments.append(Segment(sequence, discontinuities, part, seconds, None, None, False, entry.said_at))
    return Media(_target(listed.target, segments), tuple(segments), is_over=False, is_on_demand=False)


def _media(read: Any) -> Media:
    segments = tuple(_segments(read))
    return Media(
        _target(read.target_duration, segments),
        segments,
        is_over=bool(read.is_endlist),
        is_on_demand=(read.playlist_type or "").upper() == "VOD",
    )


def _target(said: float | None, segments: Sequence[Segment]) -> float:
    target = float(said or max((segment.duration for segment in segments), default=0.0))
    return min(max(target, 0.5), LONGEST) if math.isfinite(target) else LONGEST


def _segments(read: Any) -> Iterator[Segment]:
    sequence = int(read.media_sequence or 0)
    discontinuities = int(read.discontinuity_sequence or 0)
    if not 0 <= sequence < LARGEST_NUMBER or not 0 <= discontinuities < LARGEST_NUMBER:
        raise ValueError("a number that nobody means")
    before: Part | None = None
    for index, listed in enumerate(read.segments):
        discontinuities += bool(listed.discontinuity)
        if not listed.uri:
            continue  # the parts of a segment that is not complete yet
        before = _part(listed.uri, listed.byterange, before)
        yield Segment(
            sequence + index,
            discontinuities,
            before,
            _duration(listed.duration),
            _init(listed.init_section),
            _key(listed.key, sequence + index),
            is_gap=bool(listed.gap_tag),
            said_at=_aware(listed.program_date_time),
        )


def _duration(seconds: float | None) -> float:
    if seconds is None or not 0 <= seconds <= LONGEST:
        raise Refused(GapReason.UNSUPPORTED, "The playlist's segments are too long to be live.")
    return float(seconds)


def _part(uri: str, written: str | None, before: Part | None) -> Part:
    """RFC 8216 section 4.3.2.2: a range without offset follows the one before it."""
    if not written:
        return Part(uri)
    length, _, offset = written.partition("@")
    start = int(offset) if offset else _end_of(before, uri)
    if not 0 < int(length) < LARGEST_NUMBER or not 0 <= start < LARGEST_NUMBER:
        raise ValueError("an impossible range")
    return Part(uri, start, int(length))


def _end_of(before: Part | None, uri: str) -> int:
    if before is None or before.uri != uri or before.length is None:
        raise ValueError("a range without a beginning")
    return before.start + before.length


def _init(section: Any) -> Part | None:
    if section is None:
        return None
    return _part(section.uri, section.byterange, Part(section.uri, 0, 0))


def _key(listed: Any, sequence: int) -> Key | None:
    """RFC 8216 section 5.2: without IV it is the sequence number."""
    if listed is None or (listed.method or "").upper() == "NONE":
        return None
    if _is_drm(listed) or not listed.uri:
        raise _drm()
    iv = int(listed.iv, 16) if listed.iv else sequence
    return Key(listed.uri, iv.to_bytes(16, "big"))


def _is_drm(listed: Any) -> bool:
    if listed is None or (listed.method or "").upper() == "NONE":
        return False
    return (listed.method or "").upper() != "AES-128" or listed.keyformat not in _KEY_FORMATS


def _drm() -> Refused:
    return Refused(GapReason.DRM, "The stream is protected (DRM) and cannot be recorded.")


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is not None and moment.tzinfo is not None else None
