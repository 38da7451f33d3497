"""The command line of an ffmpeg that makes a second of silence. Pure."""

from __future__ import annotations

from typing import Any, Final

import ffmpeg

from streamrec.models import FileFormat

_CODING: Final[dict[FileFormat, dict[str, Any]]] = {
    FileFormat.MP3: {"c:a": "libmp3lame", "reservoir": 0, "f": "mp3", "write_xing": 0},
    FileFormat.AAC: {"c:a": "aac", "f": "adts"},
}
_LAYOUTS: Final = {1: "mono", 2: "stereo", 6: "5.1"}


def silence_command(
    executable: str,
    format: FileFormat,  # noqa: A002
    *,
    rate: int,
    channels: int,
    bit_rate: int,
) -> list[str]:
    """A second of silence on stdout, coded as MP3 or ADTS; each frame stands for itself."""
    layout = _LAYOUTS.get(channels, "stereo")
    source = ffmpeg.input(f"anullsrc=r={rate}:cl={layout}", f="lavfi", t=1)
    coding = {**_CODING[format], "b:a": bit_rate}
    if format is FileFormat.MP3:
        coding["id3v2_version"] = 0
    command: list[str] = ffmpeg.compile(ffmpeg.output(source, "pipe:1", **coding), cmd=executable)
    return [command[0], "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", *command[1:]]
