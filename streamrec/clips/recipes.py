"""How the wanted format is made of the recorded one: by copying bytes or streams, or by coding anew. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from streamrec.errors import Invalid
from streamrec.media.black import can_be_black
from streamrec.media.convert import Coding
from streamrec.models import FileFormat

SOUND_CODECS: Final = frozenset(
    {"aac", "aac_latm", "mp1", "mp2", "mp3", "ac3", "eac3", "opus", "vorbis", "flac", "alac"}
)


class ClipFormat(enum.StrEnum):
    """What a clip can be; the value is also its extension."""

    MP3 = "mp3"
    AAC = "aac"
    M4A = "m4a"
    WAV = "wav"
    FLAC = "flac"
    MP4 = "mp4"
    MKV = "mkv"
    TS = "ts"
    ZIP = "zip"


MEDIA_TYPES: Final = {
    ClipFormat.MP3: "audio/mpeg",
    ClipFormat.AAC: "audio/aac",
    ClipFormat.M4A: "audio/mp4",
    ClipFormat.WAV: "audio/wav",
    ClipFormat.FLAC: "audio/flac",
    ClipFormat.MP4: "video/mp4",
    ClipFormat.MKV: "video/x-matroska",
    ClipFormat.TS: "video/mp2t",
    ClipFormat.ZIP: "application/zip",
}
_CONTAINERS: Final = {ClipFormat.MP4, ClipFormat.MKV, ClipFormat.TS}
# Recorded MP4 is in fragments whose time stamps go on from file to file: ffmpeg makes one file of them.
_SAME: Final = {
    ClipFormat.MP3: FileFormat.MP3,
    ClipFormat.AAC: FileFormat.AAC,
    ClipFormat.TS: FileFormat.TS,
}
_ENCODER: Final = {
    ClipFormat.MP3: "libmp3lame",
    ClipFormat.AAC: "aac",
    ClipFormat.M4A: "aac",
    ClipFormat.WAV: "pcm_s16le",
    ClipFormat.FLAC: "flac",
}
_IN_BAND: Final = {"h264": "avc3", "hevc": "hev1"}
_COPIED: Final = {
    ClipFormat.MP3: {"mp3"},
    ClipFormat.AAC: {"aac"},
    ClipFormat.M4A: {"aac", "alac"},
    ClipFormat.WAV: set[str](),
    ClipFormat.FLAC: {"flac"},
    ClipFormat.MP4: {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", "mp2"},
    ClipFormat.MKV: SOUND_CODECS,
    ClipFormat.TS: {"aac", "mp3", "mp2", "ac3", "eac3"},
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """`coding` is what ffmpeg is to do; None where the recorded bytes, put together, are the clip already."""

    coding: Coding | None

    @property
    def is_lossless(self) -> bool:
        return self.coding is None or self.coding.is_lossless

    @property
    def decodes(self) -> bool:
        return self.coding is not None and self.coding.decodes


def is_bare(source: FileFormat) -> bool:
    """Whether recordings of this format are nothing but frames of sound, without time stamps."""
    return source in {FileFormat.MP3, FileFormat.AAC}


def can_fill(source: FileFormat, codecs: str) -> bool:
    """Whether what fills a gap between such recordings can be made in their own coding."""
    return is_bare(source) or can_be_black(*codecs_of(codecs))


def codecs_of(text: str) -> tuple[str | None, str | None]:
    """Video and audio of a recording's `codecs`, ffmpeg's names with video first."""
    names = text.split("+") if text else []
    audio = next((name for name in names if name in SOUND_CODECS), None)
    video = next((name for name in names if name not in SOUND_CODECS), None)
    return video, audio


def natural(source: FileFormat) -> ClipFormat:
    """The format in which a clip is the recorded bytes themselves."""
    return ClipFormat(source.value)


def recipe(
    source: FileFormat, codecs: str, target: ClipFormat, *, exact: bool, is_bridged: bool = False
) -> Recipe:
    """How to make `target`; `is_bridged` if the recordings come as one transport stream whose coding may change.

    MP4 says by its tag that the coding is told in the stream (ISO/IEC 14496-15, 5.4.2 and 8.4.1).

    Raises:
        Invalid: it cannot be made: sound of a station without any.
    """
    video, audio = codecs_of(codecs)
    if target not in _CONTAINERS and audio is None:
        raise Invalid("This channel was recorded without sound.", field="format", rule="audio")
    if _SAME.get(target) is source and not (exact and video) and not is_bridged:
        return Recipe(None)
    source = FileFormat.TS if is_bridged else source
    copies_audio = audio is None or audio in _COPIED[target]
    encoder = None if copies_audio else _ENCODER.get(target, "aac")
    if target not in _CONTAINERS or video is None:
        return Recipe(Coding(target.value, None, encoder or "copy", source))
    picture = "libx264" if exact else "copy"
    sound = None if audio is None else "aac" if exact else encoder or "copy"
    tag = _IN_BAND.get(video) if is_bridged and target is ClipFormat.MP4 and not exact else None
    return Recipe(Coding(target.value, picture, sound, source, tag))
