"""The command line of an ffmpeg that puts two byte streams together. Pure."""

from __future__ import annotations

from typing import Final

from streamrec.media import ffmpeg
from streamrec.models import FileFormat

_DEMUXERS: Final = {FileFormat.TS: "mpegts", FileFormat.MP4: "mov", FileFormat.AAC: "aac", FileFormat.MP3: "mp3"}


def mix_command(
    executable: str,
    *,
    sound: int,
    sound_format: FileFormat,
    sound_starts_at: float,
    file_format: FileFormat,
    video: str,
    audio: str,
) -> list[str]:
    """Put the picture of stdin and the sound of descriptor `sound` into one stream on stdout.

    Their time stamps are kept, because they belong together; sound that has none starts at `sound_starts_at` (s).
    """
    command = ffmpeg.capture_command(executable, ffmpeg.PIPE, file_format=file_format, video=video, audio=audio)
    behind = command.index("-i") + 2
    other = ["-protocol_whitelist", "pipe", "-threads", "1", "-f", _DEMUXERS[sound_format]]
    other += ["-itsoffset", f"{sound_starts_at:.6f}"] if sound_starts_at else []
    other += ["-i", f"pipe:{sound}", "-map", "0:v:0", "-map", "1:a:0", "-copyts"]
    return [*command[:behind], *other, *command[behind:]]
