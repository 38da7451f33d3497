"""Seeded noise, whose every frame is unlike every other, and what identifies a frame wherever it turns up again.

A sine would not do: a third of its MP3 frames are equal. `-c copy -f framemd5` hashes each packet without decoding
it, so lost, repeated and reordered frames can be counted to the frame.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import md5
from pathlib import Path

from tests.station import programs

CLIP_SECONDS = 300
MP3_FRAME_BYTES = 384  # 128 kb/s at 48 kHz
MP3_FRAME_SECONDS = 0.024
VIDEO_RATE = 12

_QUIET = ("-hide_banner", "-loglevel", "error", "-nostdin", "-y")
_NOISE = "anoisesrc=color=white:amplitude=0.3:seed=4711:sample_rate=48000"


@dataclass(frozen=True)
class Clip:
    """A file and the hashes of its frames in order."""

    path: Path
    video: bool = False

    @cached_property
    def frames(self) -> list[str]:
        """Audio packets, or decoded pictures of a television clip."""
        return frame_hashes(self.path, video=self.video)

    @cached_property
    def index(self) -> dict[str, int]:
        """Which frame a hash belongs to."""
        index = {digest: number for number, digest in enumerate(self.frames)}
        assert len(index) == len(self.frames), "the clip repeats a frame, so it proves nothing"
        return index


def make_radio(folder: Path, seconds: int = CLIP_SECONDS, *, bit_rate: str = "128k") -> Clip:
    """MP3 noise in frames of 24 ms; at 128 kb/s frame n begins at byte 384 n."""
    path = folder / "noise.mp3"
    _encode("-f", "lavfi", "-i", _NOISE, "-t", str(seconds), "-ac", "1",
            "-c:a", "libmp3lame", "-b:a", bit_rate, "-reservoir", "0",
            "-write_xing", "0", "-id3v2_version", "0", str(path))  # fmt: skip
    return Clip(path)


def make_sound(folder: Path, name: str, seconds: int, *options: str) -> Clip:
    """Noise in another codec, rate or number of channels, as the suffix and ffmpeg's `options` say."""
    path = folder / name
    plain = ("-write_xing", "0", "-id3v2_version", "0") if path.suffix == ".mp3" else ()
    _encode("-f", "lavfi", "-i", _NOISE, "-t", str(seconds), "-ac", "1", *options, *plain, str(path))
    return Clip(path)


def make_television(folder: Path, seconds: int = CLIP_SECONDS, group: int = VIDEO_RATE) -> Clip:
    """H.264 and AAC in MPEG-TS: a numbered picture 12 times a second, a key picture every `group`, and noise."""
    path = folder / "picture.ts"
    picture = f"testsrc2=size=160x120:rate={VIDEO_RATE}:duration={seconds},noise=alls=12:allf=t:all_seed=7"
    _encode("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", _NOISE, "-t", str(seconds),
            "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", str(group),
            "-keyint_min", str(group), "-sc_threshold", "0", "-b:v", "250k", "-c:a", "aac", "-b:a", "64k",
            str(path))  # fmt: skip
    return Clip(path, video=True)


def _encode(*arguments: str) -> None:
    subprocess.run([programs.ffmpeg(), *_QUIET, *arguments], check=True, timeout=120)


def frame_hashes(path: Path, *, video: bool = False) -> list[str]:
    """The MD5 of every frame: of audio packets as they are, of pictures once decoded.

    Pictures are compared decoded, because remuxing from FLV to MPEG-TS adds parameter sets to the packets.
    """
    if path.suffix == ".mp3" and path.stat().st_size < 2 * MP3_FRAME_BYTES:
        return [md5(path.read_bytes(), usedforsecurity=False).hexdigest()]  # ffmpeg believes in two frames only
    streams = ["-map", "0:v:0", "-fps_mode", "passthrough"] if video else ["-map", "0:a:0", "-c", "copy"]
    command = [programs.ffmpeg(), *_QUIET, "-i", str(path), *streams, "-f", "framemd5", "-"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return _digests(done.stdout)


def sound_hashes(path: Path) -> list[str]:
    """The MD5 of every AAC packet, without its ADTS header: remuxing makes that anew."""
    command = [programs.ffmpeg(), *_QUIET, "-i", str(path), "-map", "0:a:0", "-c", "copy"]
    command += ["-bsf:a", "aac_adtstoasc", "-f", "framemd5", "-"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return _digests(done.stdout)


def _digests(framemd5: str) -> list[str]:
    """The sixth column; behind it may stand the hashes of side data, which are the same for every packet."""
    return [line.split(",")[5].strip() for line in framemd5.splitlines() if not line.startswith("#")]


def decode_errors(path: Path) -> str:
    """What ffmpeg complains of when it decodes a whole file; empty if nothing.

    In the file's own time base: in ticks of a picture, two that a network stamped a little unevenly are one. It is
    told what a transport stream is, because it takes one of a few frames for MP3.
    """
    told = ["-f", "mpegts"] if path.suffix == ".ts" else []
    command = [programs.ffmpeg(), *_QUIET, "-xerror", *told, "-i", str(path)]
    command += ["-fps_mode", "passthrough", "-enc_time_base:v", "demux", "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stderr.strip() or ("" if done.returncode == 0 else f"exit status {done.returncode}")


def numbered(hashes: Sequence[str], clip: Clip) -> list[int]:
    """Which frames of `clip` these are; -1 for one that the station never sent."""
    return [clip.index.get(digest, -1) for digest in hashes]
