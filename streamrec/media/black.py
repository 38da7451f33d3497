"""What a stream is in ffmpeg's words, and the command line that makes black and silence of the kind. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import ffmpeg

SECONDS: Final = 2
"""How long the black and the silence are that are made; the black is one group of pictures."""

_STREAM: Final = re.compile(r"\[info\]  +Stream #0:\d+\S*: (Video|Audio): (\w+)(?: \(([^)]*)\))?(.*)")
_SIZE: Final = re.compile(r", (\d{2,5})x(\d{2,5})\b(?: \[SAR (\d{1,5}):(\d{1,5}) )?")
_RATE: Final = re.compile(r"\b(\d{1,4}(?:\.\d{1,4})?) (?:fps|tbr)")
_PIXELS: Final = re.compile(r", (yuvj?4[0-9]{2}p(?:1[02]le)?)\b(?:\(([^)]*))?")
_SOUND: Final = re.compile(r", (\d{3,6}) Hz, ([\w.]+)")
_RATES: Final = tuple(Fraction(base * 1000, 1001) for base in (24, 30, 48, 60, 120))
_LAYOUTS: Final = {"mono": "mono", "stereo": "stereo", "5.1": "5.1", "5.1(side": "5.1"}

_H264_PROFILES: Final = {
    "Constrained Baseline": "baseline",
    "Baseline": "baseline",
    "Main": "main",
    "High": "high",
    "High 10": "high10",
    "High 4:2:2": "high422",
    "High 4:4:4 Predictive": "high444",
}
_PICTURES: Final[dict[str, dict[str, Any]]] = {
    # Room for pictures out of order is announced, of which the bias lets none be made: where a container keeps no
    # decoding times (Matroska), players guess them by what the first pictures announce.
    "h264": {
        "c:v": "libx264",
        "preset": "veryfast",
        "crf": 23,
        "bf": 2,
        "x264-params": "aud=1:repeat-headers=1:scenecut=0:b-adapt=1:b-bias=-100",
    },
    "hevc": {
        "c:v": "libx265",
        "preset": "ultrafast",
        "x265-params": "aud=1:repeat-headers=1:scenecut=0:bframes=2:b-adapt=1:bframe-bias=-90:log-level=0",
    },
    "mpeg2video": {"c:v": "mpeg2video", "q:v": 3},
    "mpeg1video": {"c:v": "mpeg1video", "q:v": 3},
}
_SOUNDS: Final[dict[str, dict[str, Any]]] = {
    "aac": {"c:a": "aac", "b:a": "64k"},
    "mp3": {"c:a": "libmp3lame", "b:a": "128k", "reservoir": 0},
    "mp2": {"c:a": "mp2", "b:a": "128k"},
    "ac3": {"c:a": "ac3", "b:a": "192k"},
    "eac3": {"c:a": "eac3", "b:a": "192k"},
}


def can_be_black(video: str | None, audio: str | None) -> bool:
    """Whether black and silence of these codecs (ffmpeg's names) can be made."""
    return (video is None or video in _PICTURES) and (audio is None or audio in _SOUNDS)


@dataclass(frozen=True, slots=True)
class Picture:
    """A moving picture as ffmpeg describes it."""

    codec: str
    profile: str | None
    pixels: str  # ffmpeg's pixel format
    is_full: bool  # the range of its samples
    width: int
    height: int
    aspect: Fraction  # of a pixel
    rate: Fraction  # pictures a second


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound as ffmpeg describes it; `rate` in Hz."""

    codec: str
    rate: int
    layout: str


@dataclass(frozen=True, slots=True)
class Look:
    """The picture and the sound of a stream; None where there is none, or where nothing like it can be made."""

    picture: Picture | None
    sound: Sound | None


def look(lines: Iterable[str]) -> Look:
    """What an ffmpeg said of what it writes, at the level info; hostile text."""
    lines = list(lines)
    begin = next((at for at, line in enumerate(lines) if "Output #0" in line), len(lines))
    found = [match for line in lines[begin:] if (match := _STREAM.match(line))]
    video = next((_picture(match) for match in found if match[1] == "Video"), None)
    return Look(video, next((_sound(match) for match in found if match[1] == "Audio"), None))


def _picture(match: re.Match[str]) -> Picture | None:
    size, rate, pixels = (pattern.search(match[4]) for pattern in (_SIZE, _RATE, _PIXELS))
    if match[2] not in _PICTURES or size is None or rate is None or pixels is None or float(rate[1]) <= 0:
        return None
    aspect = Fraction(int(size[3] or 1), int(size[4] or 1) or 1) or Fraction(1)
    is_full = pixels[1].startswith("yuvj") or "pc" in (pixels[2] or "").split(", ")
    form = pixels[1].replace("yuvj", "yuv")
    return Picture(match[2], match[3], form, is_full, int(size[1]), int(size[2]), aspect, _exact(float(rate[1])))


def _exact(rate: float) -> Fraction:
    """The rate that is meant: ffmpeg says 29.97 of 30000/1001."""
    return next((each for each in _RATES if abs(each - rate) < 0.01), Fraction(rate).limit_denominator(100))


def _sound(match: re.Match[str]) -> Sound | None:
    found = _SOUND.search(match[4])
    layout = _LAYOUTS.get(found[2]) if found else None
    return Sound(match[2], int(found[1]), layout) if match[2] in _SOUNDS and found and layout else None


def black_command(executable: str, given: Look) -> list[str]:
    """A group of black pictures and as much silence as a transport stream on stdout.

    Each picture and each frame of sound has a PES packet of its own.
    """
    inputs: list[Any] = []
    wanted: dict[str, Any] = {"f": "mpegts", "muxdelay": 0, "muxpreload": 0, "pes_payload_size": 0}
    if given.picture is not None:
        inputs.append(_black(given.picture))
        wanted |= _coded(given.picture)
    if given.sound is not None:
        silent = f"anullsrc=r={given.sound.rate}:cl={given.sound.layout}"
        inputs.append(ffmpeg.input(silent, f="lavfi", t=SECONDS))
        wanted |= _SOUNDS[given.sound.codec]
    command: list[str] = ffmpeg.compile(ffmpeg.output(*inputs, "pipe:1", **wanted), cmd=executable)
    return [command[0], "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", *command[1:]]


def _black(picture: Picture) -> Any:
    size = f"{picture.width}x{picture.height}"
    range_ = "full" if picture.is_full else "limited"
    source = f"color=black:s={size}:r={picture.rate},scale=out_range={range_},format={picture.pixels}"
    shape = f"setsar={picture.aspect.numerator}/{picture.aspect.denominator}"
    return ffmpeg.input(f"{source},{shape}", f="lavfi", t=SECONDS)


def _coded(picture: Picture) -> dict[str, Any]:
    options = {"bf": 0, **_PICTURES[picture.codec], "g": max(2, round(picture.rate * SECONDS))}
    options["color_range"] = "pc" if picture.is_full else "tv"
    if picture.codec == "h264" and picture.profile in _H264_PROFILES:
        options["profile:v"] = _H264_PROFILES[picture.profile]
    if options.get("profile:v") == "baseline":
        options["bf"] = 0
    if picture.codec == "hevc":
        options |= {"keyint_min": options["g"]}
    return options
