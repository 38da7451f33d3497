"""Gaps of television: black and silence in the station's own coding, held against what was on air."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import sqlalchemy as sa

from streamrec import db
from streamrec.clips.recipes import ClipFormat
from streamrec.errors import Invalid, Unavailable
from streamrec.framing import mp3
from streamrec.framing.mp3 import mp3_framer
from streamrec.models import GapPolicy, Recording
from streamrec.settings import Settings
from tests.clips.test_making import a_channel, made, manifest_of, only_clip, ordered, recorded
from tests.factories import at

pytestmark = pytest.mark.usefixtures("engine")

WIDE, HIGH = 160, 90
RATE = 25


def decoded(path: Path, *options: str, executable: str | None = None) -> bytes:
    """What a player shows or plays, without complaint."""
    command = [executable or imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-xerror", "-i", str(path), *options]
    done = subprocess.run([*command, "-"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return done.stdout


def shown(path: Path, executable: str | None = None) -> np.ndarray:
    """The brightness of every picture, which must come at an even pace."""
    options = ("-map", "0:v:0", "-fps_mode", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo")
    data = decoded(path, *options, executable=executable)
    times = decoded(path, "-map", "0:v:0", "-c", "copy", "-f", "framecrc", executable=executable).decode()
    stamps = sorted(int(line.split(",")[2]) for line in times.splitlines() if not line.startswith("#"))
    scale = next(line for line in times.splitlines() if line.startswith("#tb 0:")).split()[-1].split("/")
    steps = {round((b - a) * int(scale[0]) / int(scale[1]), 2) for a, b in pairwise(stamps)}
    assert steps == {1 / RATE}
    return np.frombuffer(data, np.uint8).reshape(-1, HIGH, WIDE)


def loudness(path: Path) -> np.ndarray:
    """The highest sample of each tenth of a second."""
    samples_ = np.frombuffer(decoded(path, "-map", "0:a:0", "-ac", "1", "-ar", "48000", "-f", "s16le"), np.int16)
    return np.abs(samples_[: len(samples_) // 4800 * 4800].astype(int)).reshape(-1, 4800).max(axis=1)


def with_a_gap(settings: Settings, name: str, tmp_path: Path) -> tuple[int, np.ndarray]:
    """Six seconds of which the third and the fourth were lost, and the pictures of all six."""
    channel_id = a_channel(type="TV")
    air = recorded(settings, channel_id, name)
    with db.Session.begin() as session:
        session.execute(sa.delete(Recording).where(Recording.start_time == at(2)))
    whole = tmp_path / name
    whole.write_bytes(air.units[0].header * (name.endswith("mp4")) + b"".join(unit.data for unit in air.units))
    return channel_id, shown(whole)


CASES = [
    ("tv.ts", ClipFormat.MP4),
    ("tv.ts", ClipFormat.MKV),
    ("tv.ts", ClipFormat.TS),
    ("tv.mp4", ClipFormat.MP4),
    ("hevc.ts", ClipFormat.MP4),
    ("mpeg2.ts", ClipFormat.TS),
]


@pytest.mark.parametrize(("name", "wanted"), CASES)
def test_a_gap_of_television_is_black_and_silent_and_all_else_is_as_it_was(
    settings: Settings, tmp_path: Path, name: str, wanted: ClipFormat
) -> None:
    """Each picture at its time, from a second before anything was recorded to a second after."""
    channel_id, station = with_a_gap(settings, name, tmp_path)

    path = made(settings, channel_id, -1, 7, format=wanted, gaps=GapPolicy.FILL)

    pictures = shown(path)
    assert len(pictures) == 8 * RATE
    assert (pictures[25:75] == station[:50]).all()
    assert (pictures[125:175] == station[100:]).all()
    for hole in (pictures[:25], pictures[75:125], pictures[175:]):
        assert hole.max() <= 1
    told = manifest_of(path)
    assert [each["frames"] for each in told["filled"]] == [25, 50, 25]
    assert told["lossless"]


def test_the_silence_is_as_long_as_the_gap(settings: Settings, tmp_path: Path) -> None:
    channel_id, _ = with_a_gap(settings, "tv.ts", tmp_path)

    path = made(settings, channel_id, 0, 6, format=ClipFormat.WAV, gaps=GapPolicy.FILL)

    loud = loudness(path)
    assert len(loud) == pytest.approx(60, abs=1)
    assert loud[21:38].max() < 10
    assert min(loud[1:19].min(), loud[41:59].min()) > 1000


@pytest.mark.parametrize("wanted", [ClipFormat.MP4, ClipFormat.MKV, ClipFormat.TS])
def test_what_was_before_and_behind_a_gap_meets_if_it_is_skipped(
    settings: Settings, tmp_path: Path, wanted: ClipFormat
) -> None:
    """Although the station's time stamps tell of two seconds between."""
    channel_id, station = with_a_gap(settings, "tv.ts", tmp_path)

    path = made(settings, channel_id, 0, 6, format=wanted)

    pictures = shown(path)
    assert (pictures == np.concatenate([station[:50], station[100:]])).all()


def test_a_transport_stream_of_two_runs_is_shown_for_as_long_as_its_row_says(settings: Settings) -> None:
    channel_id = a_channel(type="TV")
    recorded(settings, channel_id, "tv.ts")
    recorded(settings, channel_id, "tv.ts", start=at(20))

    path = made(settings, channel_id, 2, 22.52)

    times = decoded(path, "-map", "0:v:0", "-c", "copy", "-f", "framecrc").decode().splitlines()
    shown_last = max(int(line.split(",")[2]) for line in times if not line.startswith("#")) / 90_000
    assert only_clip().seconds == pytest.approx(6.52, abs=1 / RATE)
    assert shown_last == pytest.approx(6.52, abs=0.1)


def test_debians_ffmpeg_shows_and_makes_the_same(settings: Settings, tmp_path: Path) -> None:
    channel_id, _ = with_a_gap(settings, "tv.ts", tmp_path)
    ours = made(settings, channel_id, 0.52, 6, format=ClipFormat.MP4, gaps=GapPolicy.FILL)
    old = settings.model_copy(update={"ffmpeg": Path("/usr/bin/ffmpeg")})

    theirs = made(old, channel_id, 0.52, 6, format=ClipFormat.MP4, gaps=GapPolicy.FILL)

    pictures = decoded(ours, "-map", "0:v:0", "-pix_fmt", "gray", "-f", "rawvideo")
    for path, executable in ((ours, "/usr/bin/ffmpeg"), (theirs, None)):
        other = decoded(path, "-map", "0:v:0", "-pix_fmt", "gray", "-f", "rawvideo", executable=executable)
        assert other == pictures


def test_silence_in_mp3_has_the_bit_rate_of_the_station(settings: Settings) -> None:
    """Players tell the length of an MP3 by its size and bit rate."""
    channel_id = a_channel()
    air = recorded(settings, channel_id, "mp3.mp3")
    station = air.units[0].data

    path = made(settings, channel_id, 0, 16, gaps=GapPolicy.FILL)

    last = mp3_framer().feed(path.read_bytes())[-1].data
    assert mp3.bit_rate(last) == mp3.bit_rate(station)
    assert loudness(path)[70:155].max() == 0


def test_a_coding_that_cannot_be_made_is_refused_by_name(settings: Settings) -> None:
    channel_id = a_channel(type="TV")
    recorded(settings, channel_id, "tv.mp4")
    with db.Session.begin() as session:
        session.execute(sa.update(Recording).values(codecs="av1+opus"))

    with pytest.raises(Invalid, match=r"av1\+opus cannot be filled"):
        ordered(channel_id, 0, 6, gaps=GapPolicy.FILL)


def test_a_picture_that_no_encoder_makes_fails_the_clip_in_a_sentence(settings: Settings) -> None:
    """Rows are told by a recorder; what is in the file may be something else."""
    channel_id = a_channel(type="TV")
    recorded(settings, channel_id, "opus.mp4", seconds=3)
    with db.Session.begin() as session:
        session.execute(sa.update(Recording).values(codecs="h264+aac"))

    with pytest.raises(Unavailable, match="cannot be filled"):
        made(settings, channel_id, -1, 7, format=ClipFormat.MP4, gaps=GapPolicy.FILL)
