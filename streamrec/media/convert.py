"""The command line of an ffmpeg that makes a file of another format from one stream on its stdin. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import ffmpeg

from streamrec.media.ffmpeg import MOST_PIXELS
from streamrec.models import FileFormat

_DEMUXERS: Final = {FileFormat.TS: "mpegts", FileFormat.MP4: "mov", FileFormat.AAC: "aac", FileFormat.MP3: "mp3"}
_MUXERS: Final[dict[str, dict[str, Any]]] = {
    "mp3": {"f": "mp3"},
    "aac": {"f": "adts"},
    "m4a": {"f": "ipod"},
    "wav": {"f": "wav"},
    "flac": {"f": "flac"},
    "mp4": {"f": "mp4"},
    "mkv": {"f": "matroska"},
    "ts": {"f": "mpegts"},
}
_LOSSLESS: Final = frozenset({"copy", "pcm_s16le", "flac", None})
_QUALITY: Final[dict[str, dict[str, Any]]] = {
    "libmp3lame": {"q:a": 2},
    "aac": {"b:a": "192k"},
    "libx264": {"preset": "veryfast", "crf": 18, "pix_fmt": "yuv420p"},
}
_IN_PLACE: Final = "aresample=async=1:min_hard_comp=0.02"
"""Sound stands where its time stamps say, to a fiftieth of a second, wherever one stretch follows another."""
_QUIET: Final = ("-nostdin", "-hide_banner", "-nostats", "-loglevel", "repeat+level+warning", "-y")
_TALKING: Final = ("-nostdin", "-hide_banner", "-nostats", "-loglevel", "repeat+level+info")
MOST_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class Coding:
    """`video` and `audio` are encoders, `copy`, or None where there is to be none; `source` is what comes in.

    `tag` is what the container is to call the picture's coding, if not what ffmpeg would.
    """

    container: str
    video: str | None
    audio: str | None
    source: FileFormat
    tag: str | None = None

    @property
    def is_lossless(self) -> bool:
        return self.video in _LOSSLESS and self.audio in _LOSSLESS

    @property
    def decodes(self) -> bool:
        """Whether a frame's predecessors are needed to hear or see it."""
        return self.audio not in {"copy", None} or self.video not in {"copy", None}


def _given(source: FileFormat, threads: int) -> dict[str, Any]:
    """How stdin is read, which comes from strangers."""
    return {
        "f": _DEMUXERS[source],
        "protocol_whitelist": "pipe",
        "format_whitelist": _DEMUXERS[source],
        "max_streams": 32,
        "max_alloc": 1 << 29,
        "max_pixels": MOST_PIXELS,
        "analyzeduration": 3_000_000,
        "threads": threads,
    }


def convert_command(
    executable: str,
    coding: Coding,
    target: str,
    *,
    lead_seconds: float = 0.0,
    seconds: float | None = None,
    zero_seconds: float | None = None,
) -> list[str]:
    """Read stdin and write `target`, a path of ours. The first `lead_seconds` are not to be seen or heard.

    Where the picture is copied they stay in the file: in MP4 before its beginning, and an edit list skips them.
    Time stamps are counted from the first; with `zero_seconds`, from there, and none is thought to be a jump.
    """
    given = _given(coding.source, 1 if not coding.decodes else MOST_THREADS)
    wanted: dict[str, Any] = {"map_metadata": -1, "map_chapters": -1, **_MUXERS[coding.container]}
    is_edited = coding.video == "copy" and coding.container == "mp4" and lead_seconds > 0
    offset = -(zero_seconds or 0.0) - (lead_seconds if is_edited else 0.0)
    if offset:
        given["itsoffset"] = f"{offset:.6f}"
    if is_edited:
        pass
    elif coding.video == "copy":
        seconds = None if seconds is None else seconds + lead_seconds
    elif lead_seconds > 0:
        wanted["ss"] = f"{lead_seconds:.6f}"
    if seconds is not None:
        wanted["t"] = f"{seconds:.6f}"
    for letter, codec in (("v", coding.video), ("a", coding.audio)):
        if codec is not None:
            wanted[f"c:{letter}"] = codec
            wanted |= _QUALITY.get(codec, {})
    if zero_seconds is not None and coding.audio not in {"copy", None}:
        wanted["af"] = _IN_PLACE
    if coding.tag is not None:
        wanted["tag:v"] = coding.tag
    if coding.decodes:
        wanted |= {"threads": MOST_THREADS}
    source = ffmpeg.input("pipe:0", **given)
    built: list[str] = ffmpeg.compile(ffmpeg.output(source, f"file:{target}", **wanted), cmd=executable)
    flags = [*_QUIET, *(() if zero_seconds is None else ("-copyts",))]
    return [built[0], *flags, *built[1:-1], *_chosen(coding, is_edited=is_edited), built[-1]]


def unwrapped_command(executable: str, source: FileFormat) -> list[str]:
    """Picture and sound of stdin as a transport stream on stdout: its own frames, each in a PES packet for itself.

    What they are ffmpeg says on stderr, before the first of them.
    """
    wanted = {"c": "copy", "f": "mpegts", "muxdelay": 0, "muxpreload": 0, "pes_payload_size": 0, "pat_period": 1}
    built: list[str] = ffmpeg.compile(
        ffmpeg.output(ffmpeg.input("pipe:0", **_given(source, 1)), "pipe:1", **wanted), cmd=executable
    )
    return [built[0], *_TALKING, *built[1:-1], "-sn", "-dn", built[-1]]


def _chosen(coding: Coding, *, is_edited: bool) -> list[str]:
    flags = ["-sn", "-dn"]
    if coding.video is None:
        flags.append("-vn")
    if coding.audio is None:
        flags.append("-an")
    if is_edited:
        flags += ["-copypriorss", "1"]
    return flags
