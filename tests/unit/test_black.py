"""What ffmpeg says of a stream, and what is made after it."""

from __future__ import annotations

from fractions import Fraction

import pytest

from streamrec.media.black import Look, Picture, Sound, black_command, can_be_black, look

INPUT = "[info]   Stream #0:0[0x100]: Video: h264 (High), yuv420p, 1x1, 1 fps, 90k tbn"
OUTPUT = "[info] Output #0, mpegts, to 'pipe:1':"


@pytest.mark.parametrize(
    ("line", "picture"),
    [
        (
            "h264 (High) ([27][0][0][0] / 0x001B), yuv420p(tv), 1440x1080 [SAR 4:3 DAR 16:9], 25 fps, 90k tbn",
            Picture("h264", "High", "yuv420p", False, 1440, 1080, Fraction(4, 3), Fraction(25)),
        ),
        (
            "hevc (Main 10) ([36][0][0][0] / 0x0024), yuv420p10le(tv), 1920x1080, q=2-31, 59.94 fps, 90k tbn",
            Picture("hevc", "Main 10", "yuv420p10le", False, 1920, 1080, Fraction(1), Fraction(60000, 1001)),
        ),
        (
            "h264 (Baseline) (avc1 / 0x31637661), yuvj420p(pc, progressive), 640x360, 29.97 tbr, 90k tbn",
            Picture("h264", "Baseline", "yuv420p", True, 640, 360, Fraction(1), Fraction(30000, 1001)),
        ),
        ("vp9 (Profile 0), yuv420p(tv), 640x360, 25 fps, 90k tbn", None),
        ("h264 (High), none, 640x360, 25 fps, 90k tbn", None),
        ("h264 (High), yuv420p, 25 fps, 90k tbn", None),
    ],
)
def test_a_picture_is_understood_or_not(line: str, picture: Picture | None) -> None:
    """By what is written, not by what is read."""
    assert look([INPUT, OUTPUT, f"[info]   Stream #0:0: Video: {line}"]).picture == picture


@pytest.mark.parametrize(
    ("line", "sound"),
    [
        ("aac (LC) ([15][0][0][0] / 0x000F), 44100 Hz, stereo, fltp, 130 kb/s", Sound("aac", 44100, "stereo")),
        ("ac3 (AC-3 / 0x332D4341), 48000 Hz, 5.1(side), fltp, 448 kb/s", Sound("ac3", 48000, "5.1")),
        ("aac_latm (LC), 48000 Hz, stereo, fltp", None),
        ("mp2, 48000 Hz, 22.2, fltp", None),
    ],
)
def test_a_sound_is_understood_or_not(line: str, sound: Sound | None) -> None:
    assert look([OUTPUT, f"[info]   Stream #0:1(deu): Audio: {line}"]).sound == sound


def test_of_what_ffmpeg_never_said_nothing_is_known() -> None:
    assert look([INPUT, "[error] nonsense"]) == Look(None, None)


def test_black_is_asked_for_in_the_size_pace_and_shape_of_the_station() -> None:
    picture = Picture("h264", "High", "yuv420p", False, 1440, 1080, Fraction(4, 3), Fraction(30000, 1001))

    command = black_command("ffmpeg", Look(picture, Sound("ac3", 48000, "5.1")))

    assert "color=black:s=1440x1080:r=30000/1001,scale=out_range=limited,format=yuv420p,setsar=4/3" in command
    assert "anullsrc=r=48000:cl=5.1" in command
    assert command[command.index("-profile:v") + 1] == "high"


@pytest.mark.parametrize(
    ("codecs", "can"),
    [(("h264", "aac"), True), (("hevc", None), True), ((None, "ac3"), True), (("av1", "aac"), False),
     (("h264", "opus"), False), (("h264", "aac_latm"), False)],
)  # fmt: skip
def test_only_known_codings_can_be_black(codecs: tuple[str | None, str | None], can: bool) -> None:
    assert can_be_black(*codecs) is can
